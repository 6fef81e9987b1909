"""What must hold for any request: batch mates, order, sums, independence of documents."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from blockrank_server.models.engine.content_order import by_content
from blockrank_server.models.engine.packing import pack
from blockrank_server.models.ranker import Ranker

WORDS = ["river", "bank", "money", "tree", "stone", "paris", "capital", "city", "list", "rain"]


def passages(count: int, seed: int = 0) -> list[str]:
    """Texts of 0 to 60 words; the lengths differ by more than any padding group allows."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(0, 60))) for _ in range(count)]


@pytest.fixture(params=["released", "query_free", "geometric_mean", "qrranker"])
def ranker(
    request: pytest.FixtureRequest,
    blockrank_card: dict[str, Any],
    qrranker_card: dict[str, Any],
    query_free: dict[str, Any],
    open_tiny: Callable[..., Ranker],
) -> Ranker:
    if request.param == "qrranker":
        return open_tiny("qrranker", qrranker_card)
    changed = {} if request.param == "released" else query_free
    if request.param == "geometric_mean":
        changed = changed | {"reduce_tokens": "geometric_mean"}
    return open_tiny("blockrank", blockrank_card | changed)


def test_scores_do_not_depend_on_batch_mates(ranker: Ranker) -> None:
    requests = [("capital", passages(n, seed=n)) for n in (1, 7, 40)]
    requests.append(("capital", passages(40, seed=40)[::2]))  # shares documents with the one above
    together = ranker.rank_batch(requests)
    for (query, documents), row in zip(requests, together, strict=True):
        np.testing.assert_allclose(row, ranker.rank(query, documents), atol=1e-5, rtol=0)


def test_same_batch_gives_the_same_bits(ranker: Ranker) -> None:
    requests = [("money", passages(5)), ("tree", passages(9))]
    assert ranker.rank_batch(requests) == ranker.rank_batch(requests)


def test_every_document_has_one_finite_score_within_bounds(ranker: Ranker) -> None:
    scores = ranker.rank("water", passages(33))
    assert len(scores) == 33
    assert all(0 <= score <= ranker.max_score for score in scores)


def test_document_order_changes_nothing_without_ids(
    blockrank_card: dict[str, Any], query_free: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    ranker, documents = open_tiny("blockrank", blockrank_card | query_free), passages(20)
    order = np.random.default_rng(1).permutation(20)
    moved = ranker.rank("capital", [documents[i] for i in order])
    np.testing.assert_allclose(moved, np.array(ranker.rank("capital", documents))[order], atol=1e-6)


def test_order_matters_where_documents_carry_ids(
    blockrank_card: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    ranker, documents = open_tiny("blockrank", blockrank_card), passages(20)
    backwards = ranker.rank("capital", documents[::-1])[::-1]
    assert not np.allclose(backwards, ranker.rank("capital", documents), atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 50, 1000])
def test_document_normalised_scores_sum_to_one(
    count: int,
    blockrank_card: dict[str, Any],
    query_free: dict[str, Any],
    open_tiny: Callable[..., Ranker],
) -> None:
    ranker = open_tiny("blockrank", blockrank_card | query_free)
    texts = [f"{i} {text}"[:80] for i, text in enumerate(passages(count))]
    assert sum(ranker.rank("capital", texts)) == pytest.approx(1, abs=1e-5)


def keys_and_values(ranker: Ranker, query: str, documents: list[str]) -> list[torch.Tensor]:
    """[T, K * D] keys and values of every layer, caught as they leave the projections."""
    network: nn.Module = ranker._engine._network
    num_queries = network.get_submodule("layers.0.self_attn.o_proj").in_features
    caught: dict[str, list[torch.Tensor]] = {}
    hooks = [
        module.register_forward_hook(
            lambda _m, _i, out, name=name: caught.setdefault(name, []).append(out.clone())
        )
        for name, module in network.named_modules()
        if name.endswith(("qkv_proj", "k_proj"))
    ]
    ranker.rank(query, documents)
    for hook in hooks:
        hook.remove()
    whole = {name: torch.cat(slices) for name, slices in caught.items()}
    return [each[:, num_queries:] if "qkv" in name else each for name, each in whole.items()]


@pytest.mark.parametrize("layout", ["released", "query_free"])
def test_adding_a_document_leaves_the_keys_and_values_of_others(
    layout: str,
    blockrank_card: dict[str, Any],
    query_free: dict[str, Any],
    open_tiny: Callable[..., Ranker],
) -> None:
    changed = query_free if layout == "query_free" else {}
    ranker, documents = open_tiny("blockrank", blockrank_card | changed), passages(8)
    more = [*documents, "one more " * 30]
    few, many = (keys_and_values(ranker, "capital", each) for each in (documents, more))
    rows_of_few, rows_of_many = (rows_of(ranker, "capital", each)[:8] for each in (documents, more))
    assert len(few) == 5  # of layer 4 the keys alone
    for before, after in zip(few, many, strict=True):
        for here, there in zip(rows_of_few, rows_of_many, strict=True):
            torch.testing.assert_close(before[here], after[there], atol=1e-6, rtol=1e-5)


def rows_of(ranker: Ranker, query: str, documents: list[str]) -> list[slice]:
    """Where each document's tokens stand in its batch."""
    request = ranker.encode(query, documents)
    place, rows = request.num_prefix_tokens, {}
    for i in by_content(request):
        start, stop = map(int, request.block_spans[i])
        rows[i] = slice(place, place + stop - start)
        place += stop - start
    return [rows[i] for i in range(len(documents))]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_shuffled_list_has_the_same_scores(
    dtype: str,
    blockrank_card: dict[str, Any],
    query_free: dict[str, Any],
    open_tiny: Callable[..., Ranker],
    one_thread: None,
) -> None:
    """To the last bits: what is summed in another order is the normaliser alone."""
    ranker = open_tiny("blockrank", blockrank_card | query_free, dtype=dtype)
    documents = passages(20)
    expected = dict(zip(documents, ranker.rank("capital", documents), strict=True))
    for seed in range(5):
        shuffled = random.Random(seed).sample(documents, len(documents))
        found = dict(zip(shuffled, ranker.rank("capital", shuffled), strict=True))
        assert found == pytest.approx(expected, rel=1e-5)


def test_equal_documents_of_a_batch_are_computed_once_and_score_the_same(
    blockrank_card: dict[str, Any], query_free: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    ranker, documents = open_tiny("blockrank", blockrank_card | query_free), passages(12)
    batch = [
        ranker.encode(query, documents[i:]) for i, query in enumerate(["city", "rain", "tree"])
    ]
    packed = pack(batch, ranker.card)
    tails = [request.num_tokens - request.tail_start for request in batch]
    unique = {
        request.token_ids[a:b].tobytes(): b - a for request in batch for a, b in request.block_spans
    }
    assert packed.num_tokens == batch[0].num_prefix_tokens + sum(unique.values()) + sum(tails)
    for request, row in zip(batch, ranker.score(batch), strict=True):
        np.testing.assert_allclose(row, ranker.score([request])[0], atol=1e-6)


def test_no_token_is_padding_where_documents_cannot_be_shared(
    blockrank_card: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    ranker = open_tiny("blockrank", blockrank_card)
    batch = [ranker.encode("city", passages(n)) for n in (3, 11)]
    assert pack(batch, ranker.card).num_tokens == sum(request.num_tokens for request in batch)
