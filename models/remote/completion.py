"""Says what is sent to POST /v1/completions, and reads what comes back, in the words of vLLM.

Tokens travel as ids both ways: a text that is split again may be split otherwise, and one that
spells a control token would become one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, Field, ValidationError

from blockrank_server.models.errors import EngineError, EngineUnavailableError

Readings = Literal["exact", "top20"]
# The most that vLLM gives unless it is told otherwise (--max-logprobs).
_TOP = 20
_ID = "token_id:"
_IDS_ARE_TOLD = ("return_token_ids", "return_tokens_as_token_ids")


@dataclass(frozen=True, slots=True)
class Call:
    """Describes one call.

    Attributes:
        watched: the ids whose log-probabilities are read.
        readings: exact asks for those of the watched ids, whatever their rank; top20 for those of
            the 20 likeliest tokens.
        stops: texts that end it.
        allowed: the only ids that may be generated; None for all.
    """

    prompt_ids: list[int]
    max_tokens: int
    watched: tuple[int, int]
    readings: Readings
    stops: tuple[str, ...] = ()
    allowed: tuple[int, ...] | None = None

    def body(self, model: str) -> dict[str, Any]:
        """Write the body.

        What a generation_config.json beside the weights may change is set too.
        """
        asked: dict[str, Any] = {
            "model": model,
            "prompt": self.prompt_ids,
            "max_tokens": self.max_tokens,
            "stream": True,
            "temperature": 0,
            "top_p": 1.0,
            "n": 1,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "repetition_penalty": 1.0,
            "min_tokens": 0,
            "ignore_eos": False,
            "skip_special_tokens": False,
            "include_stop_str_in_output": True,
            "logprobs": _TOP,
            **dict.fromkeys(_IDS_ARE_TOLD, True),
        }
        if self.readings == "exact":
            # As many as there are ids: vLLM compares the two.
            asked |= {"logprobs": len(self.watched), "logprob_token_ids": list(self.watched)}
        if self.stops:
            asked["stop"] = list(self.stops)
        if self.allowed is not None:
            asked["allowed_token_ids"] = list(self.allowed)
        return asked


class Step(NamedTuple):
    """Holds one generated token, and the log-probabilities that are told of its place, by id."""

    token: int
    logprobs: dict[int, float]


@dataclass(frozen=True, slots=True)
class Delta:
    """Holds what one event of a stream adds.

    Attributes:
        finish: why the stream ends: stop, length, or another word; None while it goes on.
    """

    steps: list[Step]
    finish: str | None


Logprob = Annotated[float, Field(allow_inf_nan=False)]


class _Logprobs(BaseModel):
    top_logprobs: list[dict[str, Logprob] | None]


class _Choice(BaseModel):
    token_ids: list[Annotated[int, Field(ge=0)]] | None = None
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None


class _Fault(BaseModel):
    code: int | str | None = None


class _Event(BaseModel):
    choices: list[_Choice] = []
    error: _Fault | None = None


def read_event(data: str) -> Delta | None:
    """Read the data of one event of a stream; None where it adds nothing.

    Raises:
        EngineError: it is no completion, or lacks ids.
        EngineUnavailableError: it tells that the server has become too busy, or not ready.
    """
    try:
        event = _Event.model_validate_json(data)
    except ValidationError:
        raise EngineError("the engine has sent an event that is no completion") from None
    if event.error is not None:
        raise fault_of(event.error.code)
    if not event.choices:
        return None
    choice = event.choices[0]
    return Delta(list(_steps(choice)), choice.finish_reason)


def fault_of(status: int | str | None, retry_after: str | None = None) -> EngineError:
    """Translate a status that is not 200.

    Args:
        retry_after: the header.
    """
    seconds = float(retry_after) if retry_after and retry_after.isdecimal() else None
    code = int(status) if status is not None and str(status).isdecimal() else 0
    if code in (429, 502, 503, 504):
        return EngineUnavailableError(
            f"the engine answers {code}", is_busy=code == 429, retry_after_s=seconds
        )
    if code in (401, 403):
        return EngineError(f"the engine answers {code}: it wants another engine_api_key")
    return EngineError(f"the engine answers {code or 'with an error'}")


def _steps(choice: _Choice) -> Iterator[Step]:
    ids = choice.token_ids
    told: Sequence[dict[str, float] | None] = (
        choice.logprobs.top_logprobs if choice.logprobs else ()
    )
    if ids is None or len(told) != len(ids):
        raise EngineError("the engine does not tell the id and the log-probabilities of each token")
    for token, logprobs in zip(ids, told, strict=True):
        yield Step(token, _by_id(logprobs or {}))


def _by_id(logprobs: dict[str, float]) -> dict[int, float]:
    """Key log-probabilities by id: several tokens may be spelt alike."""
    found = {}
    for name, logprob in logprobs.items():
        number = name.removeprefix(_ID)
        if number == name or not number.isdecimal():
            raise EngineError("the engine does not name tokens by id")
        found[int(number)] = logprob
    return found
