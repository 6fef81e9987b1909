import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockrank_server.service.errors import InvalidFieldError
from blockrank_server.service.rerank import RerankRequest, text_of
from blockrank_server.service.shape import Shape
from blockrank_server.service.shape_cohere import Cohere
from blockrank_server.service.shape_tei import Tei
from blockrank_server.service.shapes import BY_BODY, shape_of

A = {"query": "q", "documents": ["x", "y"]}
B = {"query": "q", "texts": ["x", "y"]}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def both(a: dict[str, Any], b: dict[str, Any] | None = None) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("shape", "body"),
        [pytest.param(Cohere, A | a, id="a"), pytest.param(Tei, B | (b or a), id="b")],
    )


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        (("query", "texts"), "b"),
        (("query", "documents"), "a"),
        (("query", "texts", "documents"), "a"),
        (("query",), "a"),
        ((), "a"),
    ],
)
def test_the_keys_choose_the_shape(keys: tuple[str, ...], name: str) -> None:
    assert shape_of(dict.fromkeys(keys), {}, BY_BODY).name == name


@both({})
def test_the_smallest_body(shape: type[Shape], body: dict[str, Any]) -> None:
    assert shape.read(body).request() == RerankRequest("q", ("x", "y"))


@both(
    {"top_n": 1, "return_documents": "true", "raw_scores": True, "truncate": "none"}
    | {"max_tokens_per_doc": 7, "max_tokens_per_query": 5, "model": "any/name", "priority": 0},
    {"top_n": 1, "return_text": "true", "raw_scores": True, "truncate": "none"}
    | {"max_tokens_per_doc": 7, "max_tokens_per_query": 5, "model": "any/name", "priority": 0},
)
def test_a_full_body(shape: type[Shape], body: dict[str, Any]) -> None:
    assert shape.read(body).request() == RerankRequest(
        "q",
        ("x", "y"),
        top_n=1,
        return_documents=True,
        raw_scores=True,
        truncate=False,
        max_document_tokens=7,
        max_query_tokens=5,
        model="any/name",
        ignored_fields=("priority",),
    )


@both(
    dict.fromkeys(
        (
            "top_n",
            "top_k",
            "return_documents",
            "max_tokens_per_doc",
            "max_tokens_per_query",
            "truncate",
            "raw_scores",
            "model",
            "rank_fields",
            "use_activation",
            "truncate_prompt_tokens",
        )
    ),
    dict.fromkeys(
        (
            "top_n",
            "top_k",
            "return_text",
            "max_tokens_per_doc",
            "max_tokens_per_query",
            "truncate",
            "raw_scores",
            "model",
            "truncation_direction",
        )
    ),
)
def test_null_is_as_good_as_absent(shape: type[Shape], body: dict[str, Any]) -> None:
    assert shape.read(body).request() == RerankRequest("q", ("x", "y"))


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
@pytest.mark.parametrize(("shape", "body"), [(Cohere, A), (Tei, B)], ids=["a", "b"])
def test_top_n(
    shape: type[Shape], body: dict[str, Any], fields: dict[str, Any], top_n: int | None
) -> None:
    assert shape.read(body | fields).request().top_n == top_n


@pytest.mark.parametrize(
    ("value", "is_cut"),
    [(True, True), (False, False), ("NONE", False), ("END", True), ("end", True), ("false", False)],
)
@pytest.mark.parametrize(("shape", "body"), [(Cohere, A), (Tei, B)], ids=["a", "b"])
def test_truncate(shape: type[Shape], body: dict[str, Any], value: object, is_cut: bool) -> None:
    assert shape.read(body | {"truncate": value}).request().truncate is is_cut


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"top_n": -1}, "top_n"),
        ({"top_n": "many"}, "top_n"),
        ({"top_n": 1.5}, "top_n"),
        ({"top_k": -1}, "top_k"),
        ({"truncate": "MIDDLE"}, "truncate"),
        ({"truncate": 1}, "truncate"),
        ({"raw_scores": "maybe"}, "raw_scores"),
        ({"max_tokens_per_doc": 0}, "max_tokens_per_doc"),
        ({"query": None}, "query"),
        ({"query": 3}, "query"),
        ({"model": ["m"]}, "model"),
    ],
)
@pytest.mark.parametrize(("shape", "body"), [(Cohere, A), (Tei, B)], ids=["a", "b"])
def test_a_wrong_field_is_named(
    shape: type[Shape], body: dict[str, Any], change: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidFieldError, match=f"^{field}: ") as caught:
        shape.read(body | change).request()
    assert caught.value.field == field
    assert caught.value.errors[0]["loc"] == [field]


@pytest.mark.parametrize("field", ["query", "texts"])
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(InvalidFieldError, match=f"^{field}: Field required"):
        Tei.read({key: value for key, value in B.items() if key != field}).request()


def test_an_entry_of_the_wrong_type_is_named() -> None:
    with pytest.raises(InvalidFieldError, match=r"texts\[1\]: "):
        Tei.read({"query": "q", "texts": ["x", {"text": "y"}]}).request()
    with pytest.raises(InvalidFieldError, match=r"documents\[1\] is neither"):
        Cohere.read({"query": "q", "documents": ["x", 5]}).request()


def test_an_error_never_quotes_the_caller_and_stays_short() -> None:
    with pytest.raises(InvalidFieldError) as caught:
        Tei.read({"query": {"secret": 1}, "texts": [["secret"]] * 500, "truncate": "secret"})
    assert "secret" not in str(caught.value) + repr(caught.value.errors)
    assert len(caught.value.errors) == 20


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        ({"truncation_direction": "Left"}, "truncation_direction left is ignored"),
        ({"truncation_side": "left"}, "truncation_side left is ignored"),
        ({"truncate": "START"}, "truncate START is ignored"),
        ({"instruction": "be kind"}, "instruction is ignored"),
        ({"instruct": "be kind"}, "instruct is ignored"),
    ],
)
def test_a_field_without_effect_is_warned_of_and_counted(
    fields: dict[str, Any], warning: str
) -> None:
    request = Tei.read(B | fields).request()
    assert request.truncate
    assert len(request.warnings) == len(request.ignored_fields) == 1
    assert request.warnings[0].startswith(warning)


def test_what_is_done_anyway_is_no_warning() -> None:
    fields = {"truncation_direction": "Right", "truncation_side": "right", "instruction": ""}
    assert Tei.read(B | fields).request() == Tei.read(B).request()


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"truncate_prompt_tokens": 7}, 7),
        ({"truncate_prompt_tokens": -1}, None),
        ({"truncate_prompt_tokens": 7, "max_tokens_per_doc": 5}, 5),
    ],
)
def test_vllm_s_cap_is_a_cap_on_documents(fields: dict[str, Any], limit: int | None) -> None:
    request = Cohere.read(A | fields).request()
    assert (request.max_document_tokens, request.max_query_tokens) == (limit, None)


def test_shape_a_takes_objects() -> None:
    body = {"query": {"text": "q"}, "documents": [{"text": "x", "title": "t"}, {"a": "b"}]}
    request = Cohere.read(body).request()
    assert request == RerankRequest("q", ({"title": "t", "text": "x"}, "a: b"))
    body = {"query": "q", "documents": [{"a": "b", "text": "no"}], "rank_fields": ["a"]}
    assert Cohere.read(body).request().documents == ("b",)


def test_use_activation_off_is_raw_scores() -> None:
    assert Cohere.read(A | {"use_activation": False}).request().raw_scores
    assert not Cohere.read(A | {"use_activation": True}).request().raw_scores


@given(st.dictionaries(st.sampled_from([*A, *B, "top_n", "truncate", "rank_fields"]), JSON))
def test_any_json_object_is_parsed_or_refused(body: dict[str, Any]) -> None:
    parsed: RerankRequest | None = None
    with contextlib.suppress(InvalidFieldError):
        parsed = shape_of(body, {}, BY_BODY).read(body).request()
    if parsed is not None:
        assert isinstance(parsed.query, str)
        assert all(isinstance(text_of(document), str) for document in parsed.documents)
        assert parsed.top_n is None or parsed.top_n > 0
