"""Holds what request bodies share: validation errors, lax field types, score numbers."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, Self

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from blockrank_server.models.prompt.document_parts import MAX_EXPLAINED_DOCUMENTS, MAX_TOKEN_SHARES
from blockrank_server.service.dialects.request import Ranked, RerankResult
from blockrank_server.service.errors import InvalidFieldError

_MAX_FAULTS = 20
_MAX_SALT_CHARACTERS = 256
_TRUNCATE = {True: "END", False: "NONE", "TRUE": "END", "FALSE": "NONE"}


def _truncate_word(value: object) -> object:
    """Translate NONE, END and START of NIM and Cohere; TEI and Voyage say true and false."""
    known = value.upper() if isinstance(value, str) else value
    return _TRUNCATE.get(known, known) if isinstance(known, str | bool) else value


def _as_flag(value: object) -> object:
    return False if value is None else value


def _check_explain(value: object, check: ValidatorFunctionWrapHandler) -> object:
    try:
        return check(value)
    except ValidationError as error:
        message = "Input should be a valid boolean, or tokens"
        raise PydanticCustomError("explain", message) from error


def _query_text(value: object) -> object:
    return value.get("text") if isinstance(value, dict) else value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _check_salt(value: str) -> str:
    if not 1 <= len(value) <= _MAX_SALT_CHARACTERS:
        message = "holds {count} characters, 1 to {limit} are allowed"
        context = {"count": len(value), "limit": _MAX_SALT_CHARACTERS}
        raise PydanticCustomError("salt_length", message, context)
    return value


CacheSalt = Annotated[
    str,
    AfterValidator(_check_salt),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": _MAX_SALT_CHARACTERS}),
    Field(description="Kept documents are found only by requests with the same salt."),
]
AskedScoreType = Annotated[
    Literal["probability", "logit", "share"],
    Field(description="What scores are; probability and logit need a card with a calibration."),
]
MinScore = Annotated[
    float,
    Field(
        allow_inf_nan=False,
        description="Results below are left out. 0 to 1, unless scores are logits or raw.",
    ),
]
Count = Annotated[int, Field(ge=1)]
Flag = Annotated[bool, BeforeValidator(_as_flag)]
TopN = Annotated[int, Field(ge=0)]
Explain = Annotated[
    Flag | Literal["tokens"],
    WrapValidator(_check_explain),
    Field(
        description="Adds `explanation` to each result: the share that each sentence of the "
        "document has in its score; with `tokens` also that of each token, and where each word of "
        "the query looked; or, where the model reasons, `reasoning`: what it wrote. "
        f"For up to {MAX_EXPLAINED_DOCUMENTS} documents; by tokens for up to "
        f"{MAX_TOKEN_SHARES:,} of them times tokens of the query."
    ),
]
Stream = Annotated[
    Flag,
    Field(
        description="The answer is a stream of events (text/event-stream): what the model writes "
        "about each document, while it does, then each score, and at the end the answer. "
        "For models that reason."
    ),
]
Query = Annotated[
    str,
    BeforeValidator(_query_text),
    WithJsonSchema({"type": ["string", "object"]}),
    Field(description="Text, or {text}. Not empty."),
]
Side = Annotated[Literal["left", "right"], BeforeValidator(_lower)]
Truncate = Annotated[
    Literal["NONE", "END", "START"] | None,
    BeforeValidator(_truncate_word),
    WithJsonSchema({"type": ["boolean", "string", "null"]}),
    Field(description="false or NONE: too long is an error. true, END or START: the end is cut."),
]
# In the answer a number; here its text, because orjson would choose the notation itself.
Score = Annotated[
    orjson.Fragment, InstanceOf(), WithJsonSchema({"type": "number", "format": "double"})
]


class RequestBody(BaseModel):
    """Reads a request body once. Unknown fields are kept, to be counted and otherwise ignored."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Self:
        """Validate a body.

        Raises:
            InvalidFieldError: naming every field at fault; never quoting a value.
        """
        try:
            return cls.model_validate(dict(body))
        except ValidationError as error:
            faults = [
                {"loc": list(e["loc"]), "msg": e["msg"], "type": e["type"]}
                for e in error.errors(include_url=False, include_context=False, include_input=False)
            ][:_MAX_FAULTS]
        fields = [_spelled(fault["loc"]) for fault in faults]
        message = "; ".join(f"{at}: {e['msg']}" for at, e in zip(fields, faults, strict=True))
        raise InvalidFieldError(message, field=fields[0], errors=faults)


def _spelled(location: object) -> str:
    assert isinstance(location, list)
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(parts).removeprefix(".")


def json_score(ranked: Ranked) -> Score:
    """Write a score as JSON."""
    return orjson.Fragment(ranked.score)


class TokenDetails(TypedDict):
    """Counts the prompt's tokens that were not computed again."""

    cached_tokens: int


class Usage(TypedDict):
    """Counts the tokens of the whole prompt, and those generated where the model reasons."""

    prompt_tokens: int
    completion_tokens: NotRequired[int]
    total_tokens: int
    prompt_tokens_details: NotRequired[TokenDetails]


def usage(result: RerankResult) -> Usage:
    found: Usage = {"prompt_tokens": result.num_tokens, "total_tokens": result.num_tokens}
    if result.num_generated_tokens:
        found["completion_tokens"] = result.num_generated_tokens
        found["total_tokens"] += result.num_generated_tokens
    if (details := token_details(result)) is not None:
        found["prompt_tokens_details"] = details
    return found


def token_details(result: RerankResult) -> TokenDetails | None:
    """Return what OpenAI's clients look for; None where no documents are kept."""
    return None if result.cached is None else {"cached_tokens": result.cached.num_tokens}
