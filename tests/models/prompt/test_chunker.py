"""Long documents in chunks: what fits, what is refused, and that chunks are ordinary documents."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockrank_server.models.errors import InputError, InputTooLongError
from blockrank_server.models.prompt.chunks import best_blocks
from blockrank_server.models.prompt.request import Document
from blockrank_server.models.ranker import Ranker

QUERY = "who won the cup?"
SHORT: Document = {"title": "Cup", "text": " Ann won the cup. "}
SENTENCES = [f"In round {i} the river met the bank of stone number {i}." for i in range(24)]
LONG = "\n " + " ".join(SENTENCES) + " "
UNICODE = "中文句子很短。" * 20 + "🙂 naïve ẞ! " * 30
GIANT = "x" * 900
LIMITS = {"max_documents": 40, "max_document_tokens": 96, "max_query_tokens": 16}
DOCUMENTS: list[Document] = [SHORT, LONG, {"title": "Long " * 90, "text": LONG}, UNICODE, GIANT]
OpenTiny = Callable[..., Ranker]


@pytest.fixture
def blocks(blockrank_card: dict[str, Any], open_tiny: OpenTiny) -> Ranker:
    return open_tiny("blockrank", blockrank_card | {"limits": LIMITS}, dtype="float32")


@pytest.fixture
def whole(qrranker_card: dict[str, Any], open_tiny: OpenTiny) -> Ranker:
    return open_tiny("qrranker", qrranker_card | {"limits": LIMITS}, dtype="float32")


@pytest.fixture
def pairs(make_yes_no: Callable[..., Path]) -> Ranker:
    return Ranker.open(make_yes_no(), device="cpu", dtype="float32")


@pytest.fixture(params=["blocks", "whole", "pairs"])
def ranker(request: pytest.FixtureRequest) -> Ranker:
    """A ranker of each kind of prompt."""
    found: Ranker = request.getfixturevalue(request.param)
    return found


def text_of(document: Document) -> str:
    return document if isinstance(document, str) else document["text"]


def test_chunks_fit_and_hold_every_word(ranker: Ranker) -> None:
    for document in DOCUMENTS:
        chunks = ranker.chunker.cut([SHORT, document])
        assert ranker.encode(QUERY, chunks.documents).truncated_documents == ()
        text = text_of(document)
        spans = [s for s, owner in zip(chunks.spans, chunks.owners, strict=True) if owner == 1]
        for span, chunk in zip(spans, chunks.documents[1:], strict=True):
            assert text[slice(*span)] == text_of(chunk)
        seen = {i for start, stop in spans for i in range(start, stop)}
        assert all(i in seen or text[i].isspace() for i in range(len(text)))
        assert len(spans) > 1 or document is SHORT


def test_short_documents_stay_as_they_are(ranker: Ranker) -> None:
    documents: list[Document] = [SHORT, "Rain.", "", " It was a draw. "]
    chunks = ranker.chunker.cut(documents)
    assert list(chunks.documents) == documents
    assert chunks.owners == (0, 1, 2, 3)
    assert chunks.spans == ((0, 18), (0, 5), (0, 0), (0, 16))
    mixed = ranker.chunker.cut([*documents, LONG])
    assert list(mixed.documents[:4]) == documents
    assert mixed.spans[:4] == chunks.spans


def test_a_score_is_that_of_the_best_chunk(ranker: Ranker) -> None:
    chunks = ranker.chunker.cut([SHORT, LONG, "Rain."])
    by_hand = [SHORT, *(LONG[start:end] for start, end in chunks.spans[1:-1]), "Rain."]
    scores = ranker.rank(QUERY, by_hand)
    assert ranker.rank(QUERY, chunks.documents) == pytest.approx(scores, rel=1e-6)
    best = chunks.best(scores)
    assert [each.score for each in best] == [scores[0], max(scores[1:-1]), scores[-1]]
    assert (best[1].start, best[1].end) == chunks.spans[int(np.argmax(scores[1:-1])) + 1]


def test_the_first_of_equal_chunks_is_the_best() -> None:
    assert best_blocks((0, 0, 2, 2, 2), (0.1, 0.3, 0.2, 0.5, 0.5)) == {0: 1, 2: 3}


def test_a_lower_limit_makes_more_chunks(ranker: Ranker) -> None:
    text, limits = "Rain fell. " * 80, (999, 39, 34)
    num = [len(ranker.chunker.cut([text], max_document_tokens=n).owners) for n in limits]
    assert num == sorted(num)
    assert num[0] < num[2]


def test_too_small_chunks_are_refused(ranker: Ranker) -> None:
    with pytest.raises(InputError, match="max_document_tokens is 9, a chunk needs at least") as at:
        ranker.chunker.cut([SHORT], max_document_tokens=9)
    assert at.value.field == "max_document_tokens"
    assert at.value.value == 9
    assert at.value.limit is not None
    chunks = ranker.chunker.cut([LONG], max_document_tokens=at.value.limit)
    kept = ranker.encode(QUERY, chunks.documents[:40], max_document_tokens=at.value.limit)
    assert kept.truncated_documents == ()


def test_more_chunks_than_asked_for_are_left_out(blocks: Ranker) -> None:
    whole = blocks.chunker.cut([LONG])
    chunks = blocks.chunker.cut([LONG, SHORT], max_chunks_per_doc=2)
    assert chunks.spans[:2] == whole.spans[:2]
    assert chunks.owners == (0, 0, 1)
    assert chunks.truncated == {0: whole.spans[1][1]}
    with pytest.raises(InputTooLongError, match=r"documents\[1\] has more chunks than max_ch"):
        blocks.chunker.cut([SHORT, LONG], max_chunks_per_doc=2, truncate=False)
    assert blocks.chunker.cut([LONG], truncate=False) == whole
    with pytest.raises(InputError, match="max_chunks_per_doc is 0, at least 1"):
        blocks.chunker.cut([LONG], max_chunks_per_doc=0)


@pytest.mark.parametrize("documents", [[LONG] * 20, ["word " * 200_000]], ids=["many", "long"])
def test_too_many_chunks_are_refused(documents: list[Document], blocks: Ranker) -> None:
    with pytest.raises(InputTooLongError, match=r"chunks or more, the limit is 40: send") as caught:
        blocks.chunker.cut(documents)
    assert (caught.value.field, caught.value.limit) == ("documents", 40)
    assert caught.value.value is not None
    assert caught.value.value > 40
    assert len(blocks.chunker.cut(documents, max_chunks_per_doc=2).owners) == 2 * len(documents)


def test_a_long_title_leaves_room_for_the_text(blocks: Ranker) -> None:
    title = "A title of words. " * 30
    document = {"title": title, "text": LONG}
    chunks = blocks.chunker.cut([document])
    for chunk in chunks.documents:
        assert not isinstance(chunk, str)
        assert title.startswith(chunk["title"])
    assert chunks.truncated == {0: None}
    with pytest.raises(InputTooLongError, match=r"documents\[0\].title has at least"):
        blocks.chunker.cut([document], truncate=False)
    # Without a text there is nothing to cut into chunks.
    assert blocks.chunker.cut([{"title": title, "text": " "}]).owners == (0,)


def test_chunks_are_known_by_their_text(
    blockrank_card: dict[str, Any], query_free: dict[str, Any], open_tiny: OpenTiny
) -> None:
    card = blockrank_card | query_free | {"limits": LIMITS}
    ranker = open_tiny("blockrank", card, dtype="float32", document_cache_bytes=50_000_000)
    documents = ranker.chunker.cut([LONG, SHORT, LONG]).documents
    assert ranker.encode(QUERY, documents).num_known_documents == 0
    scores = ranker.rank(QUERY, documents)
    again = ranker.encode(QUERY, documents)
    assert again.num_known_documents == len(documents)
    assert again.num_computed_tokens == again.num_tokens - again.tail_start
    assert ranker.score([again])[0] == pytest.approx(scores, rel=1e-5)
    half = len(documents) // 2  # equal documents have equal chunks
    assert scores[:half] == pytest.approx(scores[half + 1 :], rel=1e-5)
