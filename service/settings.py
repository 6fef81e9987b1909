"""Everything an operator can set. The only reader of the environment."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, StringConstraints, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from blockrank_server.models.quantization.names import Quantization

_PREFIX = "BLOCKRANK_"
# An empty one is no way to say "none": it would open a server that was meant to be closed.
_NEVER_EMPTY = ("api_keys", "api_keys_file")


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


# What a browser sends as Origin, so no path and no closing slash.
Origin = Annotated[str, StringConstraints(pattern=r"^(\*|https?://[^\s/,]+)$")]


class Settings(BaseSettings):
    """Everything an operator can set, as BLOCKRANK_<FIELD>. Read once, at start-up.

    Raises:
        pydantic.ValidationError: a value out of range, or an unknown BLOCKRANK_ variable.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,  # there are secrets in it
    )

    model: str = Field(
        "default", min_length=1, description="Local folder, hub name (owner/name) or default."
    )
    card: Path | None = Field(None, description="Card to use instead of the checkpoint's own.")
    adapter: Path | None = Field(None, description="LoRA adapter to merge instead of the card's.")
    revision: str | None = Field(None, description="Branch, tag or commit of a hub repository.")
    offline: bool = Field(False, description="Fetch nothing; use what the hub's cache holds.")
    device: str = Field("auto", description="cpu, cuda, cuda:1; auto takes CUDA if there is one.")
    dtype: str = Field(
        "auto", description="float32 or bfloat16; auto is bfloat16 on CUDA, float32 on the CPU."
    )
    quantization: Quantization = Field(
        "none",
        description="Most weights in fp8 (CUDA of compute capability 8.9, bfloat16), int8 or int4.",
    )
    cache_dir: Path | None = Field(None, description="Hub files and converted weights.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 picks a free one.")
    max_batch_tokens: int = Field(
        16_384, gt=0, description="Tokens in one forward pass; a larger request runs alone."
    )
    max_batch_ms: float = Field(
        500, gt=0, description="Predicted time of one forward pass; a longer request runs alone."
    )
    max_queue_requests: int = Field(256, gt=0, description="Requests waiting; one more gets 429.")
    max_queue_tokens: int = Field(
        1_000_000, gt=0, description="Tokens waiting; more get 429, a larger request 422."
    )
    max_wait_share_of_deadline: float = Field(
        0.5, gt=0, le=1, description="Share of its deadline a request may wait; more gets 429."
    )
    max_wait_ms: float = Field(
        2.0, ge=0, le=1_000, description="Longest wait for batch mates behind a running batch."
    )
    request_timeout_ms: int = Field(
        8_000, gt=0, description="A request's deadline; X-Request-Timeout-Ms can lower it."
    )
    drain_timeout_s: int = Field(
        30, gt=0, description="After SIGTERM: longest wait for requests already accepted."
    )
    max_body_bytes: int = Field(16_000_000, gt=0, description="Larger request bodies get 413.")
    connection_timeout_s: int = Field(
        60,
        gt=0,
        description="A connection that for so long neither asks nor takes its answer is closed.",
    )
    api_keys: SecretStr | None = Field(
        None, description="API keys, comma-separated. With any key set, only GET needs none."
    )
    api_keys_file: Path | None = Field(
        None, description="API keys, key or name:key a line; read again when it changes."
    )
    metrics_need_key: bool = Field(False, description="Ask for a key on /metrics too.")
    max_concurrent_requests_per_key: int | None = Field(
        None, gt=0, description="One more with the same key gets 429; unset is no limit."
    )
    cors_origins: Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(_split)] = Field(
        (), description="Origins whose pages may call, comma-separated; * is all, unset is none."
    )
    docs: bool = Field(True, description="Serve /docs and /openapi.json.")
    num_tokenize_threads: int = Field(2, gt=0, le=256, description="Threads that tokenise.")
    num_torch_threads: int | None = Field(
        None, gt=0, description="Threads of a forward pass on the CPU; unset leaves it to torch."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log line written; probes are logged at debug."
    )
    tracing: bool = Field(
        False, description="Export OpenTelemetry traces, as OTEL_* say; needs the extra tracing."
    )
    strict_model: bool = Field(
        False, description="Answer 404 to a request that names another model than the one served."
    )

    @model_validator(mode="after")
    def _refuse_unknown_variables(self) -> Self:
        fields = {f"{_PREFIX}{name.upper()}" for name in type(self).model_fields}
        found = {name.upper() for name in os.environ if name.upper().startswith(_PREFIX)}
        if unknown := found - fields:
            known = ", ".join(sorted(fields))
            raise ValueError(f"unknown {', '.join(sorted(unknown))}; there are {known}")
        return self

    @model_validator(mode="after")
    def _require_packages(self) -> Self:
        if self.tracing and find_spec("opentelemetry") is None:
            raise ValueError("tracing needs packages: pip install 'blockrank-server[tracing]'")
        return self

    @model_validator(mode="after")
    def _refuse_half_a_lock(self) -> Self:
        found = {name.upper(): value for name, value in os.environ.items()}
        for name in (f"{_PREFIX}{each.upper()}" for each in _NEVER_EMPTY):
            if name in found and not found[name].strip():
                raise ValueError(f"{name} is empty; unset it to serve without keys")
        if self.api_keys is None and self.api_keys_file is None:
            for name in ("metrics_need_key", "max_concurrent_requests_per_key"):
                if getattr(self, name):
                    raise ValueError(f"{name} needs api_keys or api_keys_file")
        return self

    def effective(self) -> dict[str, object]:
        """Every setting with the value in force, fit for JSON."""
        return self.model_dump(mode="json")
