"""The instruction in the tail of an attention card: documents stay the same, whatever it says."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from blockrank_server.models.errors import CardError, InputError, InputTooLongError
from blockrank_server.models.prompt.request import Document
from blockrank_server.models.ranker import Ranker

QUERY = "who won?"
DOCUMENTS: list[Document] = ["It was a draw.", {"title": "Cup", "text": "Ann won the cup."}]
PLACE = {"text": "\n\nRelevant means: {instruction}"}
LIMITS = {"max_documents": 9, "max_document_tokens": 64, "max_query_tokens": 16}
OpenTiny = Callable[..., Ranker]


@pytest.fixture
def reusable(blockrank_card: dict[str, Any], query_free: dict[str, Any]) -> dict[str, Any]:
    """BlockRank's card without the query in the prefix."""
    return blockrank_card | query_free


def placed(card: dict[str, Any], **limits: int) -> dict[str, Any]:
    """Give a card a place for an instruction, before the query."""
    prompt = card["prompt"] | {"tail": [PLACE, *card["prompt"]["tail"]]}
    return card | {"prompt": prompt, "limits": LIMITS | limits}


def test_it_stands_before_the_query(reusable: dict[str, Any], open_tiny: OpenTiny) -> None:
    plain = open_tiny("blockrank", reusable).encode(QUERY, DOCUMENTS)
    ranker = open_tiny("blockrank", placed(reusable))
    for blank in ("", " \n"):
        given = ranker.encode(QUERY, DOCUMENTS, instruction=blank)
        np.testing.assert_array_equal(given.token_ids, plain.token_ids)
        assert given.signal_span == plain.signal_span
    more = ranker.encode(QUERY, DOCUMENTS, instruction=" {query} is about {instruction}. ")
    own = [t.id for t in ranker.tokenize("\n\nRelevant means: {query} is about {instruction}.")]
    at = plain.tail_start
    np.testing.assert_array_equal(
        more.token_ids, [*plain.token_ids[:at], *own, *plain.token_ids[at:]]
    )
    assert more.tail_start == at
    shift = len(own)
    assert more.signal_span == tuple(edge + shift for edge in plain.signal_span)
    scores = [ranker.rank(QUERY, DOCUMENTS, instruction=i) for i in ("", "Ann", "Ann", "Bob")]
    assert scores[0] != scores[1] == scores[2] != scores[3]


def test_a_prompt_in_one_text_has_it_too(
    qrranker_card: dict[str, Any], open_tiny: OpenTiny
) -> None:
    ranker = open_tiny("qrranker", placed(qrranker_card), dtype="float32")
    plain = open_tiny("qrranker", qrranker_card | {"limits": LIMITS}, dtype="float32")
    expected = plain.encode(QUERY, DOCUMENTS).token_ids
    np.testing.assert_array_equal(ranker.encode(QUERY, DOCUMENTS).token_ids, expected)
    more = ranker.encode(QUERY, DOCUMENTS, instruction="be kind")
    decode = ranker._encoder._tokenizer.decode
    before, after = decode(expected.tolist()).rsplit("Use the retrieved", 1)
    assert decode(more.token_ids.tolist()) == (
        f"{before}\n\nRelevant means: be kindUse the retrieved{after}"
    )
    words = decode(more.token_ids[slice(*more.signal_span)].tolist())
    assert words.strip() == QUERY


def test_documents_are_known_whatever_it_says(
    reusable: dict[str, Any], open_tiny: OpenTiny
) -> None:
    ranker = open_tiny(
        "blockrank", placed(reusable), dtype="float32", document_cache_bytes=50_000_000
    )
    alone = open_tiny("blockrank", placed(reusable), dtype="float32")
    ranker.rank(QUERY, DOCUMENTS, instruction="be kind")
    again = ranker.encode(QUERY, DOCUMENTS, instruction="be strict")
    assert again.num_known_documents == len(DOCUMENTS)
    expected = alone.rank(QUERY, DOCUMENTS, instruction="be strict")
    assert ranker.score([again])[0] == pytest.approx(expected, rel=1e-4)


def test_one_that_is_too_long_is_refused(reusable: dict[str, Any], open_tiny: OpenTiny) -> None:
    ranker = open_tiny("blockrank", placed(reusable, max_instruction_tokens=5))
    with pytest.raises(InputTooLongError, match=r"instruction has at least \d+ tokens, .* is 5"):
        ranker.encode(QUERY, DOCUMENTS, instruction="word " * 20)
    with pytest.raises(InputError) as caught:
        ranker.encode(QUERY, DOCUMENTS, instruction="\ud800")
    assert caught.value.field == "instruction"


def test_a_prompt_without_a_place_refuses_it(reusable: dict[str, Any], open_tiny: OpenTiny) -> None:
    ranker = open_tiny("blockrank", reusable)
    with pytest.raises(InputError, match="has no instruction"):
        ranker.encode(QUERY, DOCUMENTS, instruction="be kind")


def test_positions_must_leave_room_for_the_longest(
    reusable: dict[str, Any], open_tiny: OpenTiny
) -> None:
    with pytest.raises(CardError, match="the longest tail ends at position"):
        open_tiny("blockrank", placed(reusable, max_instruction_tokens=50_000))
