"""Sorts out the names that a dialect has for query and documents; a body may hold several.

Some clients send two on purpose, so as to suit any server.
"""

from collections.abc import Iterator, Mapping
from typing import Any

QUERY = ("query", "text_1", "queries", "data_1")
DOCUMENTS = (
    *("documents", "texts", "passages", "input", "candidates"),
    *("text_2", "items", "data_2"),
)


def without_null_spellings(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out the names that are null beside one that is not: null is as good as absent."""
    null = {
        name
        for names in (QUERY, DOCUMENTS)
        if any(body.get(name) is not None for name in names)
        for name in names
        if name in body and body[name] is None
    }
    return {name: body[name] for name in body if name not in null} if null else body


def ignored_spellings(body: Mapping[str, Any], spelling: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each name that was given beside the one that is read.

    Args:
        spelling: the names that are read, by "query" and "documents".
    """
    for kind, names in (("query", QUERY), ("documents", DOCUMENTS)):
        used = spelling[kind]
        for name in names:
            if name != used and body.get(name) is not None:
                yield f"{name} is ignored: {used} is read"
