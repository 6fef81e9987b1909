"""Defines what an operator can set about the ranker that is opened: a part of the settings."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)

from blockrank_server.models.engine.cuda_driver import check_device_name
from blockrank_server.models.quantization.names import QuantizationSetting

EngineUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$")]
_NEED_ENGINE = ("engine_api_key", "engine_model", "engine_max_streams")


class RankerSettings(BaseModel):
    """Holds what an operator can set about the ranker that is opened."""

    model: str = Field(
        "default",
        min_length=1,
        description="The model is a local folder, a hub name (owner/name) or default.",
    )
    card: str | None = Field(
        None, description="This file, or the built-in card of this name, replaces the model's own."
    )
    adapter: Path | None = Field(
        None, description="The LoRA adapter in this folder is merged instead of the card's."
    )
    revision: str | None = Field(
        None, description="The branch, tag or commit of a hub repository that is opened."
    )
    offline: bool = Field(
        False, description="Nothing is fetched: the hub's cache must hold what is needed."
    )
    device: Annotated[str, AfterValidator(check_device_name)] = Field(
        "auto", description="The model runs on cpu, cuda or cuda:N; auto takes CUDA if it is there."
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Weights have this type; auto: bfloat16 where it is fast, or float32."
    )
    quantization: QuantizationSetting = Field(
        "auto",
        description="Products are computed in fp8 (CUDA 8.9, bfloat16) or dynamic_int8 (a CPU with "
        "VNNI or AMX), or weights kept in int8 or int4; auto: dynamic_int8 if the card allows it.",
    )
    cuda_graphs: Literal["auto", "off"] = Field(
        "auto", description="With auto, small batches run as CUDA graphs, unless int8 or int4."
    )
    cache_dir: Path | None = Field(
        None, description="Hub files and converted weights are kept here, not in the user's cache."
    )
    document_cache_bytes: Literal["auto"] | Annotated[int, Field(ge=0)] = Field(
        "auto",
        description="Documents stay computed in so many bytes; auto is a quarter of free memory, "
        "or 0 where the card does not allow it.",
    )
    document_store: Path | None = Field(
        None, description="Documents stay computed on disk, too: in this folder, over restarts."
    )
    document_store_bytes: int = Field(
        10_000_000_000, gt=0, description="document_store has so many bytes; the oldest give way."
    )
    document_cache_salt: Literal["none", "api_key"] = Field(
        "none", description="With api_key, documents of one API key are new to all others."
    )
    engine_url: EngineUrl | None = Field(
        None,
        description="A server of completions there, such as vLLM, writes the chains of a card of "
        "reasoning; unset writes them in this process.",
    )
    engine_api_key: SecretStr | None = Field(
        None, description="That server wants this key, as a bearer token."
    )
    engine_model: str | None = Field(
        None, description="That server knows the model by this name; unset takes its only one."
    )
    engine_max_streams: int = Field(
        128, gt=0, description="That server writes at most so many chains at once; others wait."
    )

    def keeping_nothing(self) -> Self:
        """Return them for a command whose documents come once: none are kept.

        So its numbers do not depend on what it computed before.
        """
        return self.model_copy(update={"document_cache_bytes": 0, "document_store": None})

    @model_validator(mode="after")
    def _refuse_half_an_engine(self) -> Self:
        if self.engine_url is None:
            for name in _NEED_ENGINE:
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name} needs engine_url")
        return self
