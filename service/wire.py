"""What the wire shapes share: lax field types, validation errors, warnings, score numbers."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from blockrank_server.service.errors import InvalidFieldError
from blockrank_server.service.rerank import Ranked, RerankResult

_MAX_LISTED = 20  # documents in a warning, faults in an error
_TRUNCATE = {"none": False, "end": True}


def _as_truncate(value: object) -> object:
    """NONE and END are NIM's and Cohere's words for false and true."""
    if value is None:
        return True
    return _TRUNCATE.get(value.lower(), value) if isinstance(value, str) else value


def _as_flag(value: object) -> object:
    return False if value is None else value


Count = Annotated[int, Field(ge=1)]
Flag = Annotated[bool, BeforeValidator(_as_flag)]
Truncate = Annotated[
    bool,
    BeforeValidator(_as_truncate),
    Field(description="false or NONE: too long is an error. true or END: the end is cut."),
]
TopN = Annotated[int, Field(ge=0, description="Results to return; 0 or null for all.")]


class WireBody(BaseModel):
    """A request body. Unknown fields are kept, to be counted and otherwise ignored."""

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
            ][:_MAX_LISTED]
        fields = [_spelled(fault["loc"]) for fault in faults]
        message = "; ".join(f"{at}: {e['msg']}" for at, e in zip(fields, faults, strict=True))
        raise InvalidFieldError(message, field=fields[0], errors=faults)

    def ignored(self) -> tuple[str, ...]:
        """Names of the fields that have no meaning here."""
        return tuple(self.model_extra or ())


def _spelled(location: object) -> str:
    assert isinstance(location, list)
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(parts).removeprefix(".")


def number(ranked: Ranked) -> orjson.Fragment:
    """A score as JSON; orjson would choose the notation itself."""
    return orjson.Fragment(ranked.score)


def warnings(result: RerankResult, documents: str) -> list[str]:
    """Sentences on what was cut.

    Args:
        result: of the request.
        documents: how the caller spells the list of documents.
    """
    found = ["query was truncated"] if result.query_truncated else []
    if cut := result.truncated_documents:
        listed = ", ".join(map(str, cut[:_MAX_LISTED])) + (
            ", ..." if len(cut) > _MAX_LISTED else ""
        )
        found.append(f"{len(cut)} of {result.num_documents} {documents} truncated: {listed}")
    return found
