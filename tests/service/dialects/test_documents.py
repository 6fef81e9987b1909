from typing import Any

import pytest

from blockrank_server.service.dialects.documents import as_document
from blockrank_server.service.errors import InvalidFieldError


@pytest.mark.parametrize(
    ("value", "document"),
    [
        ("a", "a"),
        ("", ""),
        ({"text": "a"}, {"text": "a"}),
        ({"text": "a", "title": "t", "url": "u"}, {"title": "t", "text": "a"}),
        ({"text": "a", "title": None}, {"text": "a"}),
        (
            {"city": "Paris", "tags": ["x", 1], "none": None},
            "city: Paris\ntags:\n- x\n- 1\nnone: null",
        ),
        ({"long": "word " * 60 + "end"}, "long: " + "word " * 60 + "end"),
        ({"name": "Zoë"}, "name: Zoë"),
        ({}, "{}"),
    ],
)
def test_what_is_ranked_for_a_document(value: object, document: object) -> None:
    assert as_document(value, "documents[0]") == document


def test_rank_fields_are_joined_in_their_order() -> None:
    value = {"a": "first", "b": 2, "c": "third", "d": None}
    assert as_document(value, "documents[0]", ["c", "d", "b", "missing", "a"]) == "third\n2\nfirst"


@pytest.mark.parametrize("value", [3, None, True, ["a"]])
def test_a_document_is_a_string_or_an_object(value: object) -> None:
    with pytest.raises(InvalidFieldError, match=r"documents\[7\] is neither") as caught:
        as_document(value, "documents[7]")
    assert caught.value.field == "documents[7]"


def test_a_text_that_is_no_string_is_refused() -> None:
    with pytest.raises(InvalidFieldError, match=r"documents\[0\]\.text is not a string"):
        as_document({"text": 3}, "documents[0]")


def test_an_object_without_any_of_the_rank_fields_is_refused() -> None:
    with pytest.raises(InvalidFieldError, match="none of the fields"):
        as_document({"a": "b"}, "documents[0]", ["c"])


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def test_a_very_deep_object_is_refused() -> None:
    assert as_document(nested(64), "documents[0]")
    for levels in (65, 1000):
        with pytest.raises(InvalidFieldError, match="nested deeper than 64 levels"):
            as_document(nested(levels), "documents[0]", ["text"])
