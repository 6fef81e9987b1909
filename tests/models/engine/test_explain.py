"""Where scores come from: the parts add up, and asking for them changes no score."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from blockrank_server.kernels.backend import triton_backend
from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.prompt.explanation import Explanation
from blockrank_server.models.prompt.request import Document
from blockrank_server.models.ranker import Ranker

OpenTiny = Callable[..., Ranker]
DOCUMENTS: list[Document] = [
    "The river rose. It flooded the bank! Nobody was hurt.",
    {"title": "Of money", "text": "A bank lends money. The river is far away. Paris. Rain."},
    "rain",
    "",
    "The list of stones. " * 20,
]
# Of the tiny checkpoints, which have 6 layers of 4 heads.
READ = [{"layer": 1, "heads": [2, 0]}, {"layer": 3, "heads": "all"}]
LIMITS = {"max_documents": 100, "max_document_tokens": 48, "max_query_tokens": 48}
CARDS: dict[str, tuple[str, dict[str, Any]]] = {
    "blockrank": ("blockrank", {}),
    "over_all": ("blockrank", {"normalise_over": "all", "reduce_heads": "sum"}),
    "geometric": ("blockrank", {"reduce_tokens": "geometric_mean"}),
    "full": ("blockrank", {"document_attention": "full"}),
    "stride": ("blockrank", {"tail_stride": 4}),
    "qrranker": ("qrranker", {}),
}


def assert_near(found: Explanation, expected: Explanation) -> None:
    shares = [[s.share for s in each.sentences] for each in (found, expected)]
    np.testing.assert_allclose(shares[0], shares[1], atol=1e-5)
    assert found.frame == pytest.approx(expected.frame, abs=1e-5)


@pytest.fixture(params=CARDS)
def ranker(request: pytest.FixtureRequest, open_tiny: OpenTiny) -> Ranker:
    name, changed = CARDS[request.param]
    fields = request.getfixturevalue(f"{name}_card")
    return open_tiny(name, fields | {"read": READ, "limits": LIMITS} | changed)


def test_asking_changes_no_bit_of_a_score(ranker: Ranker) -> None:
    found = ranker.explain("river bank", DOCUMENTS)
    assert [each.score for each in found] == ranker.rank("river bank", DOCUMENTS)


def test_the_parts_add_up(ranker: Ranker) -> None:
    """Each document's to its score; a sentence alone, its frame aside, has all of it."""
    for score, explanation in ranker.explain("river bank", DOCUMENTS):
        shares = [each.share for each in explanation.sentences]
        assert min([*shares, explanation.frame]) >= 0
        title = explanation.title.share if explanation.title else 0.0
        total = sum(shares) + title + explanation.frame
        if score:
            assert total == pytest.approx(1, abs=1e-6)
            assert total * score == pytest.approx(score, abs=1e-6)
        else:  # no token of it is scored
            assert total == 0
        assert explanation.best == (int(np.argmax(shares)) if shares else None)


def test_tokens_and_words_add_up(ranker: Ranker) -> None:
    """Tokens to their sentence, a word's tokens to the word, and both to the document's score."""
    query = "river bank? why"
    plain = ranker.explain(query, DOCUMENTS)
    found = ranker.explain(query, DOCUMENTS, explain="tokens")
    assert [each.score for each in found] == [each.score for each in plain]
    for (score, explanation), (_, expected) in zip(found, plain, strict=True):
        assert_near(explanation, expected)
        for start, end, share in explanation.sentences:
            inside = [each.share for each in explanation.tokens if start <= each.start < end]
            assert sum(inside) == pytest.approx(share, abs=1e-6)
        for word in explanation.words:
            assert sum(word.tokens) + word.title + word.frame == pytest.approx(word.share, abs=1e-6)
        by_word = np.sum([word.tokens for word in explanation.words], axis=0)
        np.testing.assert_allclose(by_word, [each.share for each in explanation.tokens], atol=1e-6)
        total = sum(word.share for word in explanation.words)
        assert total == pytest.approx(1 if score else 0, abs=1e-6)


def test_the_words_are_those_of_the_query(ranker: Ranker) -> None:
    """The geometric mean gives each token of the query the same say."""
    query = "river bank? why"
    assert isinstance(ranker.card, Card)
    [(_, explanation)] = ranker.explain(query, DOCUMENTS[:1], explain="tokens")
    own = [query[slice(*word.span)] for word in explanation.words if word.span]
    assert own == (query.split() if ranker.card.signal.tokens == "query" else [])
    if ranker.card.reduce_tokens == "geometric_mean" and own:
        shares = np.array([word.share for word in explanation.words])
        num_tokens = shares / shares.min()
        np.testing.assert_allclose(num_tokens, num_tokens.round(), atol=1e-4)


def test_a_sentence_alone_in_its_document_has_all_of_its_score(
    open_tiny: OpenTiny, blockrank_card: dict[str, Any]
) -> None:
    blockrank_card["prompt"] |= {"document": [{"text": "{content}"}]}
    ranker = open_tiny("blockrank", blockrank_card)
    for _, explanation in ranker.explain("river", ["The river rose.", "rain"]):
        [sentence] = explanation.sentences
        assert sentence.share == pytest.approx(1, abs=1e-6)
        assert explanation.frame == 0


@pytest.mark.parametrize("name", ["over_all", "qrranker"])
def test_a_part_has_what_it_would_score_alone(
    name: str, open_tiny: OpenTiny, request: pytest.FixtureRequest
) -> None:
    """Where masses of all that is seen are averaged, a document that is scored by one part's
    tokens alone scores the part's share."""
    checkpoint, changed = CARDS[name]
    fields = request.getfixturevalue(f"{checkpoint}_card")
    ranker = open_tiny(checkpoint, fields | {"read": READ, "limits": LIMITS} | changed)
    asked = ranker.encode("river bank", DOCUMENTS[:3], explain=True)
    pending = ranker.start([asked])
    [scores], [shares] = pending.result(), pending.part_shares()
    found, expected = iter(shares), []
    for i, parts in enumerate(asked.parts):
        for start, stop in parts.spans:
            scored = asked.scored_spans.copy()
            scored[i] = scored[i, 0] + start, scored[i, 0] + stop
            [alone] = ranker.score([replace(asked, scored_spans=scored, parts=())])
            expected.append(alone[i] / scores[i])
    np.testing.assert_allclose(list(found), expected, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 4])
def test_known_documents_are_explained_as_new_ones(
    stride: int, rankers: Callable[..., tuple[Ranker, Ranker]]
) -> None:
    keeping, plain = rankers(tail_stride=stride)
    expected = plain.explain("river bank", DOCUMENTS)
    for _ in range(2):
        found = keeping.explain("river bank", DOCUMENTS)
        for (_, known), (_, new) in zip(found, expected, strict=True):
            assert [s[:2] for s in known.sentences] == [s[:2] for s in new.sentences]
            assert_near(known, new)
            assert known.truncated_at == new.truncated_at
    assert [each.score for each in found] == keeping.rank("river bank", DOCUMENTS)
    assert keeping.document_cache_stats().hits == 2 * len(DOCUMENTS)


@pytest.mark.parametrize("stride", [1, 4])
def test_known_documents_have_the_same_words(
    stride: int, rankers: Callable[..., tuple[Ranker, Ranker]]
) -> None:
    keeping, plain = rankers(tail_stride=stride)
    expected = plain.explain("river bank", DOCUMENTS, explain="tokens")
    for _ in range(2):
        found = keeping.explain("river bank", DOCUMENTS, explain="tokens")
        for (_, known), (_, new) in zip(found, expected, strict=True):
            assert_near(known, new)
            assert [each[:2] for each in known.tokens] == [each[:2] for each in new.tokens]
            for words in zip(known.words, new.words, strict=True):
                assert words[0].span == words[1].span
                np.testing.assert_allclose(words[0].tokens, words[1].tokens, atol=1e-5)
    assert keeping.document_cache_stats().hits == len(DOCUMENTS)


@pytest.mark.parametrize("stride", [1, 4])
def test_only_who_asks_in_a_batch_gets_shares(
    stride: int, rankers: Callable[..., tuple[Ranker, Ranker]]
) -> None:
    ranker, _ = rankers(tail_stride=stride)
    asked = [ranker.encode("rain", DOCUMENTS[i : i + 2], explain=i != 1) for i in range(3)]
    pending = ranker.start(asked)
    rows, shares = pending.result(), pending.part_shares()
    assert shares[1] == []
    for i in (0, 2):
        alone = ranker.start([asked[i]])
        np.testing.assert_allclose(rows[i], alone.result()[0], atol=1e-6)
        np.testing.assert_allclose(shares[i], alone.part_shares()[0], atol=1e-6)
    assert ranker.score(asked) == rows


@pytest.mark.parametrize("stride", [1, 4])
def test_the_triton_kernels_give_the_same_shares(
    stride: int, rankers: Callable[..., tuple[Ranker, Ranker]]
) -> None:
    """In Triton's interpreter, where there is no GPU."""
    keeping, plain = rankers(tail_stride=stride)
    keeping._engine._backend = triton_backend()
    expected = plain.explain("rain", DOCUMENTS[:3])
    for _ in range(2):
        found = keeping.explain("rain", DOCUMENTS[:3])
        for (_, triton), (_, torch) in zip(found, expected, strict=True):
            assert_near(triton, torch)
    assert [each.score for each in found] == keeping.rank("rain", DOCUMENTS[:3])


def test_what_was_cut_off_is_said(open_tiny: OpenTiny, qrranker_card: dict[str, Any]) -> None:
    ranker = open_tiny("qrranker", qrranker_card | {"limits": LIMITS})
    [(_, short), (_, long)] = ranker.explain("rain", ["Rain.", DOCUMENTS[-1]])
    assert short.truncated_at is None
    assert long.truncated_at == long.sentences[-1].end < len(DOCUMENTS[-1])
