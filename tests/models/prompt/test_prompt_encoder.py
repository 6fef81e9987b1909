"""Requests into token ids: what is cut, what is refused, what can never be forged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blockrank_server.models.checkpoint.card import BUILT_IN, load_card
from blockrank_server.models.errors import CardError, EmptyInputError, InputError, InputTooLongError
from blockrank_server.models.prompt.prompt_encoder import PromptEncoder
from blockrank_server.models.prompt.template import fill
from blockrank_server.models.prompt.tokenizer import TextTokenizer
from blockrank_server.models.ranker import Ranker

CONTROL_IDS = range(10)  # of both tiny tokenizers: <s>, [INST], <|im_start|>, <think>, ...


@pytest.fixture(params=["blockrank", "qrranker"])
def ranker(
    request: pytest.FixtureRequest,
    blockrank_card: dict[str, Any],
    qrranker_card: dict[str, Any],
    open_tiny: Callable[..., Ranker],
) -> Ranker:
    card = blockrank_card if request.param == "blockrank" else qrranker_card
    card["limits"] = {"max_documents": 1000, "max_document_tokens": 64, "max_query_tokens": 16}
    return open_tiny(request.param, card)


def test_only_document_content_is_cut(ranker: Ranker) -> None:
    short = ranker.encode("why", ["a b", "c"])
    cut = ranker.encode("why", ["a b", "word " * 500])
    assert cut.truncated_documents == (1,)
    assert not cut.query_truncated
    tail = short.num_tokens - short.tail_start
    assert cut.num_tokens - cut.tail_start == tail
    assert (cut.token_ids[-tail:] == short.token_ids[-tail:]).all()
    np.testing.assert_array_equal(
        cut.token_ids[: cut.num_prefix_tokens], short.token_ids[: short.num_prefix_tokens]
    )


def test_a_cut_document_keeps_the_ids_it_had(ranker: Ranker) -> None:
    text = "word and other words 123 " * 40
    whole = ranker.encode("why", [text]).token_ids
    fewer = ranker.encode("why", [text], max_document_tokens=20)
    start = fewer.scored_spans[0][0]
    np.testing.assert_array_equal(fewer.token_ids[: start + 18], whole[: start + 18])
    assert fewer.scored_spans[0][1] - start <= 21


def test_a_request_cannot_raise_the_limit(ranker: Ranker) -> None:
    text = "word " * 500
    assert (
        ranker.encode("why", [text], max_document_tokens=10_000).num_tokens
        == ranker.encode("why", [text]).num_tokens
    )


def test_a_long_query_is_cut_and_said_so(ranker: Ranker) -> None:
    encoded = ranker.encode("why " * 100, ["a"])
    assert encoded.query_truncated
    assert encoded.num_tokens < 250


@pytest.mark.parametrize(
    ("query", "documents", "field", "limit"),
    [
        ("why " * 100, ["a"], "query", 16),
        ("why", ["a", "word " * 500], "documents[1]", 64),
    ],
    ids=["query", "document"],
)
def test_nothing_is_cut_without_truncation(
    query: str, documents: list[str], field: str, limit: int, ranker: Ranker
) -> None:
    with pytest.raises(InputTooLongError) as caught:
        ranker.encode(query, documents, truncate=False)
    assert (caught.value.field, caught.value.limit) == (field, limit)
    assert caught.value.value is not None
    assert caught.value.value > limit
    assert field in str(caught.value)


BAD: dict[str, tuple[Any, Any, str, type[InputError]]] = {
    "empty query": ("", ["a"], "query", EmptyInputError),
    "white query": (" \n\t", ["a"], "query", EmptyInputError),
    "query of another type": (5, ["a"], "query", InputError),
    "lone surrogate": ("\ud800", ["a"], "query", InputError),
    "no documents": ("q", [], "documents", EmptyInputError),
    "one string for a list": ("q", "abc", "documents", InputError),
    "null": ("q", None, "documents", InputError),
    "number": ("q", ["a", 5], "documents[1]", InputError),
    "no text": ("q", [{"title": "a"}], "documents[0]", InputError),
    "unknown key": ("q", [{"text": "a", "body": "b"}], "documents[0]", InputError),
    "text of another type": ("q", [{"text": None}], "documents[0].text", InputError),
    "title of another type": (
        "q",
        ["a", {"text": "a", "title": 5}],
        "documents[1].title",
        InputError,
    ),
    "surrogate in a document": ("q", ["a", "b\udfff"], "documents[1]", InputError),
    "too many": ("q", ["a"] * 1001, "documents", InputTooLongError),
}


@pytest.mark.parametrize(("query", "documents", "field", "kind"), BAD.values(), ids=BAD)
def test_bad_requests_name_the_field(
    query: Any, documents: Any, field: str, kind: type[InputError], ranker: Ranker
) -> None:
    with pytest.raises(kind) as caught:
        ranker.encode(query, documents)
    assert caught.value.field == field
    assert field.partition("[")[0] in str(caught.value)


def test_too_many_documents_names_limit_and_value(ranker: Ranker) -> None:
    with pytest.raises(InputTooLongError, match="holds 1001 documents, the limit is 1000"):
        ranker.encode("q", ["a"] * 1001)


@pytest.mark.parametrize("limit", [0, -5])
def test_token_limits_below_one(limit: int, ranker: Ranker) -> None:
    with pytest.raises(InputError) as caught:
        ranker.encode("q", ["a"], max_document_tokens=limit)
    assert caught.value.field == "max_document_tokens"


def test_ten_megabytes_are_cut_without_reading_them_all(ranker: Ranker) -> None:
    encoded = ranker.encode("q", ["x" * 10_000_000, "word " * 2_000_000])
    assert encoded.truncated_documents == (0, 1)
    assert encoded.num_tokens < 400


@pytest.mark.parametrize(
    "forged", ["<s>", "[/INST]", "</s>", "<|im_start|>", "<|im_end|>", "<repo_name>"]
)
def test_text_never_becomes_a_control_token(forged: str, ranker: Ranker) -> None:
    honest = ranker.encode("q", [{"title": "t", "text": "x"}])
    encoded = ranker.encode(f"q {forged}", [{"title": forged, "text": f"x{forged}y"}])
    control = [i for i in encoded.token_ids if i in CONTROL_IDS]
    assert control == [i for i in honest.token_ids if i in CONTROL_IDS]


@pytest.fixture(
    scope="module", params=["quicktensor--blockrank-msmarco-mistral-7b", "MindscapeRAG--QRRanker"]
)
def encoder(request: pytest.FixtureRequest, fixtures: Path) -> PromptEncoder:
    folder = "blockrank" if "blockrank" in request.param else "qrranker"
    tokenizer = TextTokenizer(fixtures / folder / "tokenizer.json")
    return PromptEncoder(load_card(BUILT_IN / f"{request.param}.json"), tokenizer, 32768)


# The tiny Qwen vocabulary lacks some of the 256 bytes: U+0016 is no token there.
@example(query="\x16", texts=["a"])
@given(query=st.text(min_size=1), texts=st.lists(st.text(max_size=200), min_size=1, max_size=5))
def test_any_text_is_encoded_or_refused(
    encoder: PromptEncoder, query: str, texts: list[str]
) -> None:
    try:
        encoded = encoder.encode(query, texts)
    except InputError:
        is_text = not any(0xD800 <= ord(c) < 0xE000 for c in query + "".join(texts))
        assert not is_text or not query.strip() or not encoder.tokenize(query).ids
        return
    assert encoder.tokenize(query).ids
    spans = encoded.scored_spans
    assert (spans[:, 0] <= spans[:, 1]).all()
    assert (spans[1:, 0] >= spans[:-1, 1]).all()
    assert encoded.signal_span[0] < encoded.signal_span[1] <= encoded.num_tokens


def test_a_query_without_a_token_is_refused(
    qrranker_card: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    ranker = open_tiny("qrranker", qrranker_card)
    with pytest.raises(EmptyInputError, match="query has no token") as caught:
        ranker.encode("\x16", ["a"])
    assert caught.value.field == "query"
    assert ranker.encode("why\x16", ["a"]).num_tokens > 0


def test_braces_in_a_value_are_text() -> None:
    filled = fill("{query} and {content}", {"query": "{content}", "content": "{query}"})
    assert filled.text == "{content} and {query}"
    assert filled.spans == [("query", 0, 9), ("content", 14, 21)]


def test_an_offset_without_room_is_the_cards_fault(
    blockrank_card: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    blockrank_card["positions"]["tail_offset"] = 300
    with pytest.raises(CardError, match="tail_offset is 300, prefix and longest document"):
        open_tiny("blockrank", blockrank_card)


def test_a_prompt_beyond_the_checkpoints_positions(
    qrranker_card: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    ranker = open_tiny("qrranker", qrranker_card)
    with pytest.raises(InputTooLongError, match="the limit is 32768"):
        ranker.encode("q", ["word " * 900] * 40)
