"""The request that warms up must take every path a later one can."""

import time
from collections.abc import Callable
from itertools import groupby
from typing import Any

import pytest
import torch

from blockrank_server.kernels.block_attention_tiles import BlockAttentionTilePlan
from blockrank_server.kernels.launch_config import block_attention_config
from blockrank_server.kernels.span_lse_tiles import SpanLseTilePlan
from blockrank_server.models.engine.packing import pack
from blockrank_server.models.engine.warm_up import ladder, long_request, warm_up
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.models.ranker import Ranker

CPU = torch.device("cpu")
TILE = block_attention_config("hopper", 128, torch.bfloat16)


@pytest.mark.parametrize("tail_stride", [1, 7])
def test_the_tail_is_split_and_no_document_is_shared(
    tail_stride: int,
    blockrank_card: dict[str, Any],
    query_free: dict[str, Any],
    open_tiny: Callable[..., Ranker],
) -> None:
    ranker = open_tiny("blockrank", blockrank_card | query_free | {"tail_stride": tail_stride})
    request = long_request(ranker._encoder, None)
    batch = pack([request], ranker.card)
    assert batch.num_tokens == request.num_tokens
    plan = BlockAttentionTilePlan(batch.segments, batch.num_tokens, CPU, batch.key_rows)
    # Of the families' shapes the one least inclined to split: most heads, all of them KV heads.
    assert plan.tables(TILE, group=1, num_kv=32).num_slots > 0


def test_long_spans_are_merged_where_the_card_has_them(
    qrranker_card: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    ranker = open_tiny("qrranker", qrranker_card)
    batch = pack([long_request(ranker._encoder, None)], ranker.card)
    assert len(SpanLseTilePlan(batch.reads, CPU).spans_S8) > 0


@pytest.mark.parametrize("num_tokens", [5000, 9000])
def test_it_is_as_long_as_the_largest_batch(
    num_tokens: int, blockrank_card: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    ranker = open_tiny("blockrank", blockrank_card)
    found = long_request(ranker._encoder, num_tokens).num_tokens
    assert num_tokens <= found < num_tokens + 1000


def test_it_stays_within_the_cards_documents(
    blockrank_card: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    blockrank_card["limits"]["max_documents"] = 3
    ranker = open_tiny("blockrank", blockrank_card)
    assert long_request(ranker._encoder, 100_000).num_documents == 3


def test_it_stays_within_the_positions(
    qrranker_card: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    ranker = open_tiny("qrranker", qrranker_card)
    ranker._encoder.max_positions = 700
    found = long_request(ranker._encoder, 100_000)
    assert 350 < found.num_tokens <= 700


def test_kernels_are_warmed_up_with_it_and_nothing_is_timed_cold(
    blockrank_card: dict[str, Any],
    open_tiny: Callable[..., Ranker],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ranker = open_tiny("blockrank", blockrank_card, max_batch_tokens=3000)
    scored: list[int] = []
    score = ranker._engine.score

    def counted(batch: list[EncodedRequest]) -> list[list[float]]:
        scored.append(batch[0].num_tokens)
        return score(batch)

    monkeypatch.setattr(ranker._engine, "score", counted)
    few, many, _ = ranker.warm_up()
    runs = [(size, len([*same])) for size, same in groupby(scored)]
    assert [size for size, _ in runs] == [few.num_tokens, many.num_tokens]
    assert runs[0][1] > 1
    assert few.num_tokens < many.num_tokens < 3000
    assert few.seconds > 0
    assert many.seconds > 0
    scored.clear()
    object.__setattr__(ranker.info, "attention", "triton")
    few, many, _ = ranker.warm_up()
    sizes = [size for size, _ in groupby(scored)]
    between = sizes[2:-2]
    assert sizes[:2] == sizes[-2:] == [few.num_tokens, many.num_tokens]
    assert scored[:2] == sizes[:2]
    assert scored[-1] >= 3000
    one = ranker.encode("warm up", ["a"])
    frame = one.num_tokens - (one.tail_start - one.num_prefix_tokens)
    rungs = ladder(frame, many.num_tokens)
    assert rungs[-2:] == [2048, 3072]
    # A made-up request hits its rung as nearly as words and frames let it.
    assert between == pytest.approx(rungs, rel=0.1, abs=16)


def test_the_ladder_doubles_in_two_steps() -> None:
    assert ladder(70, 700) == [96, 128, 192, 256, 384, 512]
    assert ladder(700, 800) == [768]
    assert ladder(5, 40) == []


@pytest.mark.parametrize(
    ("few_s", "many_s", "expected_s"),
    [([0.5, 0.1, 0.2], [1.5, 0.4, 0.9], (0.1, 0.4)), ([0.5, 1.6], [3.0], (0.5, 3.0))],
    ids=["short", "long"],
)
def test_the_fastest_of_three_passes_counts_where_they_are_short(
    few_s: list[float],
    many_s: list[float],
    expected_s: tuple[float, float],
    blockrank_card: dict[str, Any],
    open_tiny: Callable[..., Ranker],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ranker = open_tiny("blockrank", blockrank_card)
    now_s = 0.0
    taken_s = iter([7.0, *few_s, *many_s])

    def score(_: object) -> None:
        nonlocal now_s
        now_s += next(taken_s)

    monkeypatch.setattr(time, "perf_counter", lambda: now_s)
    few, many, known = warm_up(score, ranker._encoder, None, has_kernels=False)
    assert (few.seconds, many.seconds) == pytest.approx(expected_s)
    assert next(taken_s, None) is None
    assert known is None


def test_a_pass_of_known_documents_is_timed_where_any_are_kept_and_none_stays(
    blockrank_card: dict[str, Any], query_free: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    ranker = open_tiny("blockrank", blockrank_card | query_free, document_cache_bytes=10**8)
    _, many, known = ranker.warm_up()
    assert known is not None
    assert known.num_known_tokens > many.num_tokens > known.num_computed_tokens > 0
    assert known.seconds > 0
    stats = ranker.document_cache_stats()
    assert (stats.hits, stats.misses, stats.num_entries, stats.used_bytes) == (0, 0, 0, 0)
    documents = ["river bank", "money"]
    before = ranker.rank("city", documents)
    assert ranker.rank("city", documents) == pytest.approx(before, abs=1e-6)
    assert ranker.document_cache_stats().hits == 2
