"""Fields that mean the same in every dialect."""

import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from blockrank_server.models.errors import InputError
from blockrank_server.service.dialects.base import Dialect
from blockrank_server.service.dialects.registry import BY_BODY, DIALECTS, dialect_of
from blockrank_server.service.dialects.request import RerankRequest, text_of
from blockrank_server.service.dialects.tei import Tei
from blockrank_server.service.dialects.vllm_score import VllmScore
from blockrank_server.service.dialects.weaviate import Weaviate
from blockrank_server.service.errors import InvalidFieldError

EVERY_DIALECT = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


def body_of(dialect: type[Dialect]) -> dict[str, Any]:
    """The smallest body of a dialect, which does not send documents back."""
    body: dict[str, Any] = {dialect.query_fields[0]: "q", dialect.documents_fields[0]: ["x", "y"]}
    if "return_documents" in dialect.model_fields:
        body["return_documents"] = False
    return body


def request_of(dialect: type[Dialect], **fields: Any) -> RerankRequest:
    return dialect.read(body_of(dialect) | fields).request()


@EVERY_DIALECT
def test_the_smallest_body(dialect: type[Dialect]) -> None:
    request = request_of(dialect)
    assert request == RerankRequest("q", ("x", "y"), return_documents=dialect.name == "rank_llm")


@EVERY_DIALECT
def test_a_full_body(dialect: type[Dialect]) -> None:
    request = request_of(
        dialect,
        raw_scores="true",
        truncate="none",
        max_tokens_per_doc=7,
        max_tokens_per_query="5",
        model="any/name",
        priority=0,
        anything=None,
    )
    assert request == RerankRequest(
        "q",
        ("x", "y"),
        return_documents=dialect.name == "rank_llm",
        raw_scores=True,
        truncate=False,
        max_document_tokens=7,
        max_query_tokens=5,
        model="any/name",
        ignored_fields=("priority", "anything"),
    )


@EVERY_DIALECT
def test_null_is_as_good_as_absent(dialect: type[Dialect]) -> None:
    schema = dialect.model_json_schema()
    # SGLang and Pinecone send documents back unless told not to.
    optional = set(schema["properties"]) - set(schema["required"]) - {"return_documents"}
    assert len(optional) >= 13
    request = request_of(dialect, **dict.fromkeys(optional))
    assert request == request_of(dialect)


@pytest.mark.parametrize(
    ("fields", "top_n"),
    [
        ({"top_n": 0}, None),
        ({"top_n": 3}, 3),
        ({"top_n": "2"}, 2),
        ({"top_k": 2}, 2),
        ({"top_k": 0}, None),
        ({"top_n": 1, "top_k": 2}, 1),
        ({"top_n": None, "top_k": 2}, 2),
    ],
)
@EVERY_DIALECT
def test_top_n(dialect: type[Dialect], fields: dict[str, Any], top_n: int | None) -> None:
    assert request_of(dialect, **fields).top_n == (None if dialect.is_complete else top_n)


def test_two_dialects_answer_with_every_document() -> None:
    assert [dialect for dialect in DIALECTS if dialect.is_complete] == [Weaviate, VllmScore]


@pytest.mark.parametrize(
    ("value", "is_cut"),
    [
        *((True, True), (False, False), ("NONE", False), ("END", True), ("end", True)),
        *(("false", False), ("True", True), ("START", True), (None, True)),
    ],
)
@pytest.mark.parametrize("field", ["truncate", "truncation"])
def test_truncate(field: str, value: object, is_cut: bool) -> None:
    assert request_of(Tei, **{field: value}).truncate is is_cut


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"truncate_prompt_tokens": 7}, 7),
        ({"truncate_prompt_tokens": 0}, None),
        ({"truncate_prompt_tokens": -1}, None),
        ({"truncate_prompt_tokens": 7, "max_tokens_per_doc": 5}, 5),
    ],
)
def test_vllm_s_cap_is_a_cap_on_documents(fields: dict[str, Any], limit: int | None) -> None:
    request = request_of(Tei, **fields)
    assert (request.max_document_tokens, request.max_query_tokens) == (limit, None)


def test_use_activation_off_is_raw_scores() -> None:
    assert request_of(Tei, use_activation=False).raw_scores
    assert not request_of(Tei, use_activation=True).raw_scores


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"top_n": -1}, "top_n"),
        ({"top_n": "many"}, "top_n"),
        ({"top_n": 1.5}, "top_n"),
        ({"top_k": -1}, "top_k"),
        ({"truncate": "MIDDLE"}, "truncate"),
        ({"truncate": 1}, "truncate"),
        ({"truncate": ["END"]}, "truncate"),
        ({"truncation_side": "up"}, "truncation_side"),
        ({"raw_scores": "maybe"}, "raw_scores"),
        ({"max_tokens_per_doc": 0}, "max_tokens_per_doc"),
        ({"truncate_prompt_tokens": -2}, "truncate_prompt_tokens"),
        ({"model": ["m"]}, "model"),
        ({"instruct": 3}, "instruct"),
    ],
)
@EVERY_DIALECT
def test_a_wrong_field_is_named(dialect: type[Dialect], change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidFieldError, match=f"^{field}: ") as caught:
        request_of(dialect, **change)
    assert caught.value.field == field
    assert caught.value.errors[0]["loc"] == [field]


@EVERY_DIALECT
def test_a_missing_field_is_named(dialect: type[Dialect]) -> None:
    for field in (dialect.query_fields[0], dialect.documents_fields[0]):
        body = body_of(dialect)
        del body[field]
        with pytest.raises(InvalidFieldError, match=f"^{field}: Field required"):
            dialect.read(body)


@EVERY_DIALECT
def test_a_query_and_documents_of_the_wrong_type_are_named(dialect: type[Dialect]) -> None:
    query, documents = dialect.query_fields[0], dialect.documents_fields[0]
    for change in ({query: None}, {query: 3}, {documents: {"a": "b"}}, {documents: [None]}):
        with pytest.raises(InvalidFieldError) as caught:
            request_of(dialect, **change)
        assert str(caught.value.field).startswith(next(iter(change)))


def test_an_error_never_quotes_the_caller_and_stays_short() -> None:
    with pytest.raises(InvalidFieldError) as caught:
        Tei.read({"query": {"secret": 1}, "texts": [["secret"]] * 500, "truncate": "secret"})
    assert "secret" not in str(caught.value) + repr(caught.value.errors)
    assert len(caught.value.errors) == 20


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
NAMES = sorted({name for dialect in DIALECTS for name in dialect.model_json_schema()["properties"]})


@hypothesis_settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), JSON))
@example({"text_1": [], "text_2": []})
def test_any_json_object_is_parsed_or_refused(body: dict[str, Any]) -> None:
    parsed: RerankRequest | None = None
    with contextlib.suppress(InvalidFieldError, InputError):
        parsed = dialect_of(body, {}, BY_BODY).read(body).request()
    if parsed is not None:
        assert isinstance(parsed.query, str)
        assert all(isinstance(text_of(document), str) for document in parsed.documents)
        assert parsed.top_n is None or parsed.top_n > 0
