"""Known documents are found by their text, and not tokenised."""

from collections.abc import Callable
from typing import Any

import pytest

from blockrank_server.models.checkpoint.card import BUILT_IN, load_card
from blockrank_server.models.document_cache.document_cache import DocumentCache
from blockrank_server.models.errors import InputTooLongError
from blockrank_server.models.prompt.document_finder import DocumentFinder
from blockrank_server.models.ranker import Ranker

CARD = load_card(BUILT_IN / "default.json")
LIMITS = {"max_documents": 100, "max_document_tokens": 48, "max_query_tokens": 48}


@pytest.fixture
def ranker(
    blockrank_card: dict[str, Any], query_free: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> Ranker:
    fields = blockrank_card | query_free | {"limits": LIMITS}
    return open_tiny("blockrank", fields, document_cache_bytes=10**7)


def digest(*pair: str, card: Any = CARD, runs_as: tuple[str, ...] = ("r",), **asked: Any) -> bytes:
    title, text = pair
    finder = DocumentFinder(DocumentCache(1, 1), card, runs_as)
    return finder.find([(title, text)], asked.pop("limit", 512), **asked).digests[1]


def test_all_that_numbers_depend_on_tells_documents_apart() -> None:
    other_prefix = CARD.prompt.model_copy(update={"prefix": CARD.prompt.prefix[:1]})
    digests = [
        digest("", "ab"),
        digest("a", "b"),
        digest("ab", ""),
        digest("", "ab "),
        digest("", "ab", limit=511),
        digest("", "ab", salt="s"),
        digest("", "ab", runs_as=("r", "")),
        digest("", "ab", runs_as=("other",)),
        digest("", "ab", card=CARD.model_copy(update={"tail_stride": 2})),
        digest("", "ab", card=CARD.model_copy(update={"document_attention": "causal"})),
        digest("", "ab", card=CARD.model_copy(update={"prompt": other_prefix})),
    ]
    assert len(set(digests)) == len(digests)
    assert digest("", "ab", card=CARD.model_copy(update={"name": "other"})) == digests[0]
    limits = CARD.limits.model_copy(update={"max_instruction_tokens": 9})
    assert digest("", "ab", card=CARD.model_copy(update={"limits": limits})) == digests[0]


def test_the_prefix_is_the_same_whatever_the_salt() -> None:
    finder = DocumentFinder(DocumentCache(1, 1), CARD, ())
    assert finder.find([], 512).digests == finder.find([], 10, salt="s").digests


def test_known_documents_are_not_tokenised(ranker: Ranker, monkeypatch: pytest.MonkeyPatch) -> None:
    ranker.rank("city", ["river bank", {"title": "money", "text": "tree"}])
    seen: list[str] = []
    tokenizer = ranker._encoder._tokenizer
    encode_many = tokenizer.encode_many

    def spy(given: list[str]) -> list[Any]:
        seen.extend(given)
        return encode_many(given)

    monkeypatch.setattr(tokenizer, "encode_many", spy)
    ranker.rank("rain", [{"title": "money", "text": "tree"}, "stone", "river bank", "money tree"])
    assert sorted(seen) == ["\nDOCUMENT: money tree | END", "\nDOCUMENT: stone | END"]


def test_a_request_says_the_same_of_known_documents(ranker: Ranker) -> None:
    documents = ["river bank " * 40, "money", "tree " * 90]
    before = ranker.encode("city", documents)
    ranker.score([before])
    after = ranker.encode("city", documents)
    assert after.num_known_documents == 3
    assert after.num_tokens == before.num_tokens
    assert after.block_spans.tolist() == before.block_spans.tolist()
    assert after.signal_span == before.signal_span
    assert after.truncated_documents == before.truncated_documents == (0, 2)


def test_a_document_cut_before_is_refused_where_nothing_may_be_cut(ranker: Ranker) -> None:
    documents = ["money", "river bank " * 40]
    ranker.rank("city", documents)
    with pytest.raises(InputTooLongError, match=r"documents\[1\] has at least [0-9]+ tokens"):
        ranker.encode("city", documents, truncate=False)
    assert ranker.encode("city", documents[:1], truncate=False).num_known_documents == 1


def test_a_lower_limit_knows_other_documents(ranker: Ranker) -> None:
    documents = ["river bank " * 40]
    ranker.rank("city", documents)
    request = ranker.encode("city", documents, max_document_tokens=20)
    assert request.num_known_documents == 0


def test_a_salt_keeps_documents_apart(ranker: Ranker) -> None:
    ranker.score([ranker.encode("city", ["river"], cache_salt="one")])
    known = [
        ranker.encode("city", ["river"], cache_salt=salt).num_known_documents
        for salt in ("one", "other", "")
    ]
    assert known == [1, 0, 0]
