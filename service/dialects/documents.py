"""Reads a document of a request body: text, an object with a text, or any object at all."""

from collections.abc import Sequence
from typing import cast

import yaml

from blockrank_server.models.prompt.request import Document
from blockrank_server.service.errors import InvalidFieldError

# libyaml is ten times faster, and a shortlist may hold 1,000 objects.
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_ONE_LINE = 2**31 - 1
# orjson writes no more than 254 levels, and an answer may hold the document.
_MAX_LEVELS = 64


def as_documents(
    values: Sequence[object], field: str, rank_fields: Sequence[str] = ()
) -> list[Document]:
    """Apply as_document to each entry of a list of documents.

    Raises:
        InvalidFieldError: naming the first entry at fault.
    """
    if set(map(type, values)) == {str}:  # nearly always; ten times faster than one by one
        return cast("list[Document]", list(values))
    return [as_document(value, f"{field}[{i}]", rank_fields) for i, value in enumerate(values)]


def as_document(value: object, field: str, rank_fields: Sequence[str] = ()) -> Document:
    """Return what is ranked for one entry of a list of documents.

    Args:
        value: a string is ranked as it is; an object by its rank_fields, else its text with its
            title, else all of it as YAML.
        field: how the caller spells the entry, for errors.
        rank_fields: the names of the object's fields to rank, joined by line breaks.

    Raises:
        InvalidFieldError: neither string nor object, or an object without what is needed.
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        raise InvalidFieldError(f"{field} is neither a string nor an object", field=field)
    check_depth(value, field)
    if rank_fields:
        return _joined(value, field, rank_fields)
    if "text" not in value:
        return _as_yaml(value)
    text, title = value["text"], value.get("title")
    if not isinstance(text, str):
        raise InvalidFieldError(f"{field}.text is not a string", field=f"{field}.text")
    return {"title": title, "text": text} if isinstance(title, str) else {"text": text}


def check_depth(value: object, field: str) -> None:
    """Refuse what could not be written into an answer.

    Raises:
        InvalidFieldError: more than 64 objects or lists inside one another.
    """
    if _is_deeper(value, _MAX_LEVELS):
        raise InvalidFieldError(f"{field} is nested deeper than {_MAX_LEVELS} levels", field=field)


def _joined(value: dict[str, object], field: str, rank_fields: Sequence[str]) -> str:
    found = [value[name] for name in rank_fields if value.get(name) is not None]
    if not found:
        raise InvalidFieldError(f"{field} has none of the fields of rank_fields", field=field)
    return "\n".join(part if isinstance(part, str) else _as_yaml(part) for part in found)


def _as_yaml(value: object) -> str:
    dumped = yaml.dump(value, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=_ONE_LINE)
    return str(dumped).removesuffix("...\n").rstrip("\n")


def _is_deeper(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(part, levels - 1) for part in inner)
