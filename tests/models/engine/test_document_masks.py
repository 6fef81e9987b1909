"""What documents' tokens and the tail see of a document, against a dense mask."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blockrank_server.models.engine.attention_reader import AttentionReader
from blockrank_server.models.engine.engine import Engine
from blockrank_server.models.engine.packing import pack
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.models.ranker import Ranker

WORDS = ["river", "bank", "money", "tree", "stone", "paris", "capital", "city", "list", "rain"]
MASKS = list(product([1, 2, 4, 10], ["causal", "full"]))
OpenTiny = Callable[..., Ranker]
DenseScores = Callable[..., list[float]]


def batch_of_lists(ranker: Ranker, rng: np.random.Generator) -> list[EncodedRequest]:
    """Three lists of documents of 0 to 40 words, drawn from one pool, so that they share some."""
    pool = [" ".join(rng.choice(WORDS, rng.integers(0, 40))) for _ in range(9)]
    return [
        ranker.encode(" ".join(rng.choice(WORDS, 3)), list(rng.choice(pool, rng.integers(1, 8))))
        for _ in range(3)
    ]


def partly_scored(request: EncodedRequest) -> EncodedRequest:
    """The same with a span of each block scored, empty ones too, but never all of them."""
    spans = []
    for start, stop in request.block_spans.tolist():
        rng = np.random.default_rng(stop - start)  # equal documents have equal spans
        spans.append(start + np.sort(rng.integers(0, stop - start + 1, 2)))
    if all(first == last for first, last in spans):
        spans[0] = request.block_spans[0]
    return replace(request, scored_spans=np.array(spans, np.int32))


@pytest.fixture(params=["reusable", "documents with ids"])
def fields(
    request: pytest.FixtureRequest, blockrank_card: dict[str, Any], query_free: dict[str, Any]
) -> dict[str, Any]:
    read = [{"layer": 1, "heads": [2, 0]}, {"layer": 3, "heads": "all"}]
    shared = query_free if request.param == "reusable" else {}
    return blockrank_card | shared | {"read": read}


@pytest.mark.parametrize("normalise_over", ["documents", "all"])
@pytest.mark.parametrize("scored_tokens", ["block", "part"])
@pytest.mark.parametrize(("stride", "attention"), MASKS)
def test_batches_score_as_a_dense_mask_says(
    stride: int,
    attention: str,
    scored_tokens: str,
    normalise_over: str,
    fields: dict[str, Any],
    fixtures: Path,
    open_tiny: OpenTiny,
    dense_scores: DenseScores,
) -> None:
    changed = {
        "tail_stride": stride,
        "document_attention": attention,
        "normalise_over": normalise_over,
    }
    ranker, rng = open_tiny("blockrank", fields | changed), np.random.default_rng(stride)
    batch = batch_of_lists(ranker, rng)
    if scored_tokens == "part":
        batch = [partly_scored(request) for request in batch]
    expected = [
        dense_scores(fixtures / "blockrank", request, ranker.card, torch.float32)
        for request in batch
    ]
    for row, dense in zip(ranker.score(batch), expected, strict=True):
        np.testing.assert_allclose(row, dense, atol=2e-6, rtol=1e-4)
    for request, dense in zip(batch, expected, strict=True):
        np.testing.assert_allclose(ranker.score([request])[0], dense, atol=2e-6, rtol=1e-4)


def test_the_masks_differ(fields: dict[str, Any], open_tiny: OpenTiny) -> None:
    """Or the test above would compare nothing."""
    scores = []
    for stride, attention in MASKS:
        changed = {"tail_stride": stride, "document_attention": attention}
        ranker = open_tiny("blockrank", fields | changed)
        scores.append(ranker.rank("capital", ["river bank " * 9, "money " * 12, "rain"]))
    assert len({tuple(np.round(row, 4)) for row in scores}) == len(MASKS)


@pytest.mark.parametrize("attention", ["causal", "full"])
def test_documents_are_shared_as_before(
    attention: str,
    blockrank_card: dict[str, Any],
    query_free: dict[str, Any],
    open_tiny: OpenTiny,
) -> None:
    card = open_tiny("blockrank", blockrank_card | query_free)
    batch = batch_of_lists(card, np.random.default_rng(5))
    whole, thinned = (
        pack(
            batch,
            card.card.model_copy(update={"tail_stride": k, "document_attention": attention}),
        )
        for k in (1, 4)
    )
    assert np.array_equal(whole.token_ids, thinned.token_ids)
    assert np.array_equal(whole.position_ids, thinned.position_ids)
    assert whole.key_rows is None
    assert thinned.key_rows is not None
    unique = {
        request.token_ids[a:b].tobytes(): -(-(b - a) // 4)
        for request in batch
        for a, b in request.block_spans
    }
    # A key for each fourth token of a block and for its last, once for all lists.
    assert thinned.key_rows.num_keys == thinned.num_tokens + sum(unique.values())


def test_a_lists_kept_keys_are_one_span(
    blockrank_card: dict[str, Any], query_free: dict[str, Any], open_tiny: OpenTiny
) -> None:
    ranker = open_tiny("blockrank", blockrank_card | query_free | {"tail_stride": 3})
    batch = pack([ranker.encode("city", ["river", "bank " * 20, "money"])], ranker.card)
    prefix, kept = batch.segments[-1].full
    assert prefix == (0, batch.segments[0].stop)
    assert batch.key_rows is not None
    assert kept == (batch.num_tokens, batch.key_rows.num_keys)


def test_the_stride_comes_out_of_the_batch_not_out_of_the_engines_card(
    blockrank_card: dict[str, Any], query_free: dict[str, Any], open_tiny: OpenTiny
) -> None:
    """So that training can draw one for each batch."""
    plain = open_tiny("blockrank", blockrank_card | query_free)
    changed = {"tail_stride": 4, "document_attention": "full"}
    thinned = open_tiny("blockrank", blockrank_card | query_free | changed)
    batch = batch_of_lists(plain, np.random.default_rng(2))
    engine: Engine = plain._engine
    with torch.inference_mode():
        reader = engine.forward(pack(batch, plain.card.model_copy(update=changed)))
        assert isinstance(reader, AttentionReader)
        rows = reader.scores()
    assert [row.tolist() for row in rows] == thinned.score(batch)
