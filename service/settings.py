"""Defines everything an operator can set. Nothing else in this program reads its environment.

What opens a ranker is in models/ranker_settings.py.

Variables of another program are set: OMP_WAIT_POLICY and GOMP_SPINCOUNT, in service/open_ranker.py,
and the first for training.
OTEL_* and HF_* are read by the libraries they belong to.
"""

import difflib
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from blockrank_server.models.ranker_settings import RankerSettings

_PREFIX = "BLOCKRANK_"
# An empty one is no way to say "none": it would open a server that was meant to be closed.
_NEVER_EMPTY = ("api_keys", "api_keys_file")
_NEED_KEYS = ("metrics_need_key", "max_concurrent_requests_per_key", "document_cache_salt")


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


# What a browser sends as Origin, so no path and no closing slash.
Origin = Annotated[str, StringConstraints(pattern=r"^(\*|https?://[^\s/,]+)$")]


class Settings(RankerSettings, BaseSettings):
    """Holds everything an operator can set, as BLOCKRANK_<FIELD>. Read once, at start-up.

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

    host: str = Field("127.0.0.1", description="The server listens on this address.")
    port: int = Field(
        8000, ge=0, le=65_535, description="The server listens on this port; 0 picks a free one."
    )
    max_batch_tokens: int = Field(
        16_384, gt=0, description="A batch has at most so many tokens; a larger request runs alone."
    )
    max_batch_ms: float = Field(
        500, gt=0, description="A batch takes at most about this long; a longer request runs alone."
    )
    max_queue_requests: int = Field(
        256, gt=0, description="At most this many requests wait; one more gets 429."
    )
    max_queue_tokens: int = Field(
        1_000_000,
        gt=0,
        description="The requests that wait have at most this many tokens; one more gets 429, and "
        "a request larger than this 422.",
    )
    max_wait_share_of_deadline: float = Field(
        0.5,
        gt=0,
        le=1,
        description="A request waits at most this share of its deadline; a longer wait gets 429.",
    )
    max_wait_ms: float = Field(
        2.0,
        ge=0,
        le=1_000,
        description="While a batch runs, a request waits at most this long for others to join it.",
    )
    request_timeout_ms: int | None = Field(
        None,
        gt=0,
        description="A request must be answered within this time; its header X-Request-Timeout-Ms "
        "can lower it. Unset takes 60000 on the CPU and 8000 on CUDA, and 120000 for reasoning.",
    )
    drain_timeout_s: int = Field(
        60,
        gt=0,
        description="After SIGTERM, requests already accepted have this long to be answered.",
    )
    max_body_bytes: int = Field(
        16_000_000,
        gt=0,
        description="A larger request body gets 413, a compressed one by what it inflates to.",
    )
    connection_timeout_s: int = Field(
        60,
        gt=0,
        description="A connection that for so long neither asks nor takes its answer is closed.",
    )
    api_keys: SecretStr | None = Field(
        None,
        description="These API keys, separated by commas, are valid. With any key set, requests "
        "other than GET need one.",
    )
    api_keys_file: Path | None = Field(
        None,
        description="API keys are read from this file, key or name:key a line, and read again "
        "when it changes.",
    )
    metrics_need_key: bool = Field(False, description="/metrics needs a key, too.")
    max_concurrent_requests_per_key: int | None = Field(
        None,
        gt=0,
        description="A key has at most this many requests at the same time; one more gets 429.",
    )
    cors_origins: Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(_split)] = Field(
        (),
        description="Pages of these origins, separated by commas, may call the server; * allows "
        "all.",
    )
    docs: bool = Field(True, description="/docs, /openapi.json and /playground are served.")
    root_path: str | None = Field(
        None,
        pattern=r"^(/[A-Za-z0-9_.~-]+)*/?$",
        description="A proxy puts this prefix in front of every path, and strips it or not.",
    )
    num_tokenize_threads: int = Field(
        2, gt=0, le=256, description="This many threads turn text into tokens."
    )
    num_torch_threads: int | None = Field(
        None,
        gt=0,
        description="A forward pass on the CPU uses this many threads; unset takes the container's "
        "CPU quota, rounded up, or torch's own choice if that is less.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least severe level that is logged; probes are logged at debug."
    )
    tracing: bool = Field(
        False, description="Traces are exported, as OTEL_* say; this needs the extra tracing."
    )
    strict_model: bool = Field(
        False, description="A request that names another model than the one served gets 404."
    )

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_broken_text(cls, value: object) -> object:
        try:
            str(value if isinstance(value, str | Path) else "").encode()
        except UnicodeEncodeError:
            raise ValueError("not UTF-8, in which the log could not show it") from None
        return value

    @model_validator(mode="after")
    def _refuse_unknown_variables(self) -> Self:
        fields = set(map(variable_name, type(self).model_fields))
        found = {name.upper() for name in os.environ if name.upper().startswith(_PREFIX)}
        if unknown := sorted(found - fields):
            raise ValueError("; ".join(_unknown(name, fields) for name in unknown))
        return self

    @model_validator(mode="after")
    def _require_packages(self) -> Self:
        if self.tracing and find_spec("opentelemetry") is None:
            raise ValueError("tracing needs packages: pip install 'blockrank-server[tracing]'")
        return self

    @model_validator(mode="after")
    def _refuse_half_a_lock(self) -> Self:
        found = {name.upper(): value for name, value in os.environ.items()}
        for name in map(variable_name, _NEVER_EMPTY):
            if name in found and not found[name].strip():
                raise ValueError(f"{name} is empty; unset it to serve without keys")
        if self.api_keys is None and self.api_keys_file is None:
            for name in _NEED_KEYS:
                if getattr(self, name) not in (False, None, "none"):
                    raise ValueError(f"{name} needs api_keys or api_keys_file")
        return self

    def effective(self) -> dict[str, object]:
        """Return every setting with the value in force, fit for JSON."""
        return self.model_dump(mode="json")


def variable_name(field: str) -> str:
    """Return the environment variable of a field of Settings."""
    return f"{_PREFIX}{field.upper()}"


def _unknown(name: str, known: set[str]) -> str:
    # Without the prefix, by which all of them are alike.
    parts = [each.removeprefix(_PREFIX) for each in sorted(known)]
    near = difflib.get_close_matches(name.removeprefix(_PREFIX), parts, n=1)
    hint = f"did you mean {_PREFIX}{near[0]}?" if near else "serve --help lists the settings"
    return f"unknown {name}; {hint}"
