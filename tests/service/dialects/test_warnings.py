"""What every dialect tells of fields that change nothing."""

from typing import Any

import pytest

from blockrank_server.service.dialects.base import Dialect
from blockrank_server.service.dialects.registry import DIALECTS
from blockrank_server.service.dialects.request import RerankRequest
from blockrank_server.service.dialects.tei import Tei

EVERY_DIALECT = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


def request_of(dialect: type[Dialect], **fields: Any) -> RerankRequest:
    """From the smallest body, which does not send documents back."""
    body = {dialect.query_fields[0]: "q", dialect.documents_fields[0]: ["x", "y"]}
    silent = {"return_documents": False} if "return_documents" in dialect.model_fields else {}
    return dialect.read(body | silent | fields).request()


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        ({"truncation_direction": "Left"}, "truncation_direction left is ignored: only the end"),
        ({"truncation_side": "left"}, "truncation_side left is ignored: only the end"),
        ({"truncate": "START"}, "truncate START is ignored: only the end"),
        ({"truncation": "start"}, "truncation START is ignored: only the end"),
    ],
)
@EVERY_DIALECT
def test_a_field_without_effect_is_warned_of_and_counted(
    dialect: type[Dialect], fields: dict[str, Any], warning: str
) -> None:
    request = request_of(dialect, **fields)
    assert request.truncate
    assert request.ignored_fields == tuple(fields)
    assert [sentence.startswith(warning) for sentence in request.warnings] == [True]


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        ({"truncate_prompt_tokens": 7, "max_tokens_per_doc": 5}, "truncate_prompt_tokens is ign"),
        ({"raw_scores": True, "use_activation": True}, "use_activation true is ignored: raw_sco"),
        ({"raw_scores": False, "use_activation": False}, "raw_scores false is ignored: use_acti"),
        ({"truncate": "NONE", "truncation": True}, "truncation is ignored: truncate says that"),
        ({"truncate": "END", "truncation": False}, "truncate is ignored: truncation says that"),
        ({"instruction": "a", "instruct": "b"}, "instruct is ignored: instruction is given"),
        ({"return_len": True}, "return_len is ignored: it has no effect here"),
        (
            {"max_chunks_per_doc": 3, "long_documents": "truncate"},
            "max_chunks_per_doc is ignored: long_documents is truncate",
        ),
        ({"overrides": {"window_size": 5}}, "overrides is ignored: it has no effect here"),
    ],
)
@EVERY_DIALECT
def test_a_field_that_another_overrules_or_that_others_know_is_warned_of(
    dialect: type[Dialect], fields: dict[str, Any], warning: str
) -> None:
    [found] = request_of(dialect, **fields).warnings
    assert found.startswith(warning)


@pytest.mark.parametrize(
    "fields",
    [
        {"truncate_prompt_tokens": 7, "max_tokens_per_doc": 7},
        {"truncate_prompt_tokens": -1, "max_tokens_per_doc": 7},
        {"raw_scores": True, "use_activation": False},
        {"raw_scores": None, "use_activation": False},
        {"raw_scores": False, "use_activation": True},
        {"truncate": "NONE", "truncation": False},
        {"truncate": "NONE", "truncation": None},
        {"long_documents": "chunk", "max_chunks_per_doc": 3},
        {"long_documents": None, "max_chunks_per_doc": 3},
        {"return_len": None, "max_chunks_per_doc": None, "overrides": {}, "priority": 3},
        {"return_text": None, "return_input": None},
    ],
)
@EVERY_DIALECT
def test_two_names_that_agree_are_no_warning(
    dialect: type[Dialect], fields: dict[str, Any]
) -> None:
    assert request_of(dialect, **fields).warnings == ()


@EVERY_DIALECT
def test_top_k_beside_another_top_n_is_warned_of(dialect: type[Dialect]) -> None:
    complete = {
        f"{field} is ignored: an answer in this dialect holds every document"
        for field in ("top_n", "top_k")
    }
    for top_k, differs in ((2, True), (1, False), (None, False), (0, True)):
        found = set(request_of(dialect, top_n=1, top_k=top_k).warnings)
        if dialect.is_complete:
            assert found <= complete
        else:
            assert found == ({"top_k is ignored: top_n is given"} if differs else set())


@EVERY_DIALECT
def test_asking_for_documents_by_another_dialect_s_field_is_warned_of(
    dialect: type[Dialect],
) -> None:
    fields = {"return_documents", "return_text", "return_input"} - {dialect.return_field}
    assert (dialect.return_field in dialect.model_fields) is (dialect.return_field is not None)
    for field in fields:
        for value in (True, False):
            found = request_of(dialect, **{field: value}).warnings
            is_lost = value is not dialect.always_returns
            assert [text.startswith(f"{field} is ignored: ") for text in found] == [True] * is_lost


def test_what_is_done_anyway_is_no_warning() -> None:
    fields = {"truncation_direction": "Right", "truncation_side": "right", "instruction": ""}
    assert request_of(Tei, **fields) == request_of(Tei)
