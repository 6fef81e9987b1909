"""Which part of a document each of its tokens stands for."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blockrank_server.models.errors import InputTooLongError
from blockrank_server.models.prompt.document_parts import FRAME, TITLE, DocumentParts
from blockrank_server.models.prompt.request import Document
from blockrank_server.models.ranker import Ranker

TEXT = "  The river rose. It flooded the bank!\n\nNobody was hurt.  "
WORDS = st.text(st.sampled_from("abé .!?\n🙂中。"), max_size=30)


@pytest.fixture(params=["blockrank", "query_free", "qrranker", "whole_block"])
def ranker(request: pytest.FixtureRequest, open_tiny: Callable[..., Ranker]) -> Ranker:
    """Documents with numbers, without, as one text, and as one text that is scored whole."""
    is_whole = request.param in ("qrranker", "whole_block")
    name = "qrranker" if is_whole else "blockrank"
    fields: dict[str, Any] = request.getfixturevalue(f"{name}_card")
    if request.param == "query_free":
        fields |= request.getfixturevalue("query_free")
    if request.param == "whole_block":
        fields["prompt"] |= {"scored_tokens": "block"}
    fields["limits"] = {"max_documents": 200, "max_document_tokens": 64, "max_query_tokens": 16}
    return open_tiny(name, fields)


def parts_and_texts(ranker: Ranker, *documents: Document) -> list[tuple[DocumentParts, list[str]]]:
    """The parts of documents, each with the text of its tokens."""
    encoded = ranker.encode("why", documents, explain=True)
    tokenizer, found = ranker._encoder._tokenizer, []
    for parts, (first, last) in zip(encoded.parts, encoded.scored_spans, strict=True):
        ids = encoded.token_ids[first:last].tolist()
        found.append((parts, [tokenizer.decode(ids[a:b]) for a, b in parts.spans]))
    return found


def of_kind(parts: DocumentParts, texts: list[str], kind: int) -> str:
    return "".join(text for text, each in zip(texts, parts.kinds, strict=True) if each == kind)


def test_the_tokens_of_a_sentence_are_its_text(ranker: Ranker) -> None:
    [(parts, texts), _] = parts_and_texts(ranker, TEXT, "another")
    expected = ["The river rose.", "It flooded the bank!", "Nobody was hurt."]
    assert [TEXT[start:stop] for start, stop in parts.sentences] == expected
    assert [of_kind(parts, texts, i).strip() for i in range(3)] == expected
    assert parts.title is None
    assert parts.truncated_at is None
    assert TITLE not in parts.kinds


def test_a_title_is_a_part_of_its_own(ranker: Ranker) -> None:
    document = {"title": " Of floods. Again. ", "text": TEXT}
    [(parts, texts)] = parts_and_texts(ranker, document)
    assert of_kind(parts, texts, TITLE).strip() == "Of floods. Again."
    assert of_kind(parts, texts, 0).strip() == "The river rose."
    assert parts.title == (0, len(document["title"]))


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    documents=st.lists(
        st.one_of(WORDS, st.builds(lambda a, b: {"title": a, "text": b}, WORDS, WORDS)),
        min_size=1,
        max_size=4,
    ),
    limit=st.integers(4, 64),
)
def test_parts_cover_the_scored_tokens_once(
    ranker: Ranker, documents: list[Document], limit: int
) -> None:
    encoded = ranker.encode("why", documents, max_document_tokens=limit, explain=True)
    plain = ranker.encode("why", documents, max_document_tokens=limit)
    np.testing.assert_array_equal(encoded.token_ids, plain.token_ids)
    assert plain.parts == ()
    for i, (parts, (first, last)) in enumerate(
        zip(encoded.parts, encoded.scored_spans, strict=True)
    ):
        edges = [0, *parts.spans[:, 1].tolist()]
        assert parts.spans[:, 0].tolist() == edges[:-1]
        assert edges[-1] == last - first
        assert (np.diff(edges) > 0).all()
        assert set(parts.kinds.tolist()) <= {FRAME, TITLE, *range(len(parts.sentences))}
        assert (parts.truncated_at is None) or i in encoded.truncated_documents


def test_what_was_cut_off_is_no_part(ranker: Ranker) -> None:
    text = "The river rose. " + "It flooded the bank and the road. " * 20
    [(parts, texts)] = parts_and_texts(ranker, text)
    assert parts.truncated_at is not None
    assert parts.sentences[-1][1] == parts.truncated_at < len(text) / 2
    seen = "".join(of_kind(parts, texts, i) for i in range(len(parts.sentences)))
    assert seen.strip() == text[: parts.truncated_at]


def test_the_sixty_fourth_sentence_holds_the_rest(ranker: Ranker) -> None:
    limits = ranker.card.limits.model_copy(update={"max_document_tokens": 600})
    ranker._encoder.card = ranker.card.model_copy(update={"limits": limits})
    text = "One. Two. " * 60
    [(parts, _)] = parts_and_texts(ranker, text)
    assert parts.truncated_at is None
    assert len(parts.sentences) == 64
    assert parts.sentences[-1] == (text.index("Two", 310), len(text) - 1)


def test_too_many_documents_are_refused(ranker: Ranker) -> None:
    assert len(ranker.encode("why", ["a"] * 100, explain=True).parts) == 100
    with pytest.raises(InputTooLongError, match=r"explain is for up to 100 .* holds 101") as found:
        ranker.encode("why", ["a"] * 101, explain=True)
    assert (found.value.field, found.value.limit, found.value.value) == ("explain", 100, 101)
    assert ranker.encode("why", ["a"] * 101).num_documents == 101


def test_a_summary_moves_no_part(
    open_tiny: Callable[..., Ranker], qrranker_card: dict[str, Any]
) -> None:
    ranker = open_tiny("qrranker", qrranker_card)
    assert ranker.card.prompt.takes_summary
    without, with_one = (
        ranker.encode("why", [TEXT, "b"], summary=summary, explain=True).parts
        for summary in ("", "Of floods. ")
    )
    for found, expected in zip(with_one, without, strict=True):
        np.testing.assert_array_equal(found.spans, expected.spans)
        np.testing.assert_array_equal(found.kinds, expected.kinds)
        assert found.sentences == expected.sentences
