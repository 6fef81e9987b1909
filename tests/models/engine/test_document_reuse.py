"""Kept documents change no score, whoever is known, evicted, preempted or given up."""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockrank_server.kernels.backend import triton_backend
from blockrank_server.models.engine import memory_plan
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.ranker import Ranker

MASKS = list(product([1, 4], ["causal", "full"]))
OpenTiny = Callable[..., Ranker]
Rankers = Callable[..., tuple[Ranker, Ranker]]
Request = tuple[str, list[str]]


pytestmark = pytest.mark.usefixtures("one_thread")


def assert_equal(found: Sequence[Sequence[float]], expected: Sequence[Sequence[float]]) -> None:
    for row, plain in zip(found, expected, strict=True):
        np.testing.assert_allclose(row, plain, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("stride", "attention", "normalise_over"),
    [
        (1, "causal", "documents"),
        (1, "full", "all"),
        (4, "causal", "all"),
        (4, "full", "documents"),
    ],
)
def test_any_mix_of_known_and_new_documents_scores_the_same(
    stride: int, attention: str, normalise_over: str, rankers: Rankers, texts: Any
) -> None:
    keeping, plain = rankers(
        num_bytes=500_000 if stride == 1 else 150_000,
        tail_stride=stride,
        document_attention=attention,
        normalise_over=normalise_over,
    )
    lists = texts(stride)
    for _ in range(20):
        batch = lists.batch()
        assert_equal(keeping.rank_batch(batch), plain.rank_batch(batch))
    stats = keeping.document_cache_stats()
    assert min(stats.hits, stats.misses, stats.evictions) > 10, stats
    assert stats.used_bytes <= stats.max_bytes


def test_known_documents_change_no_level(rankers: Rankers, texts: Any) -> None:
    keeping, plain = rankers(num_bytes=500_000)
    lists = texts(1)
    for _ in range(20):
        batch = lists.batch()
        kept, without = (
            each.start([each.encode(*request) for request in batch]) for each in (keeping, plain)
        )
        assert len(kept.levels()) == len(batch)
        np.testing.assert_allclose(kept.levels(), without.levels(), atol=1e-5, rtol=0)
    assert keeping.document_cache_stats().hits > 10


def test_bfloat16_is_no_further_off_than_without(
    rankers: Rankers,
    texts: Any,
) -> None:
    (keeping, plain), (_, exact) = rankers(dtype="bfloat16"), rankers()
    lists, off, off_without = texts(3), 0.0, 0.0
    for _ in range(10):
        batch = lists.batch()
        rows = zip(
            keeping.rank_batch(batch), plain.rank_batch(batch), exact.rank_batch(batch), strict=True
        )
        for kept, without, right in rows:
            off = max(off, np.abs(np.array(kept) - right).max())
            off_without = max(off_without, np.abs(np.array(without) - right).max())
    assert off <= 1.5 * off_without


def test_only_what_is_not_known_is_computed(rankers: Rankers, texts: Any) -> None:
    keeping, _ = rankers()
    keeping.rank("city", ["river bank", "money"])
    request = keeping.encode("paris", ["money", "stone tree", "river bank"])
    start, stop = request.block_spans[1]
    num_tail = request.num_tokens - request.tail_start
    assert request.num_known_documents == 2
    assert request.num_computed_tokens == stop - start + num_tail
    batch = keeping._engine._pack([request])
    assert batch.num_tokens == request.num_computed_tokens
    assert batch.token_ids.min() >= 0


def test_requests_read_before_their_documents_were_kept_use_them(
    rankers: Rankers,
    texts: Any,
) -> None:
    keeping, plain = rankers()
    waiting = [keeping.encode("city", ["river bank", "money"]) for _ in range(2)]
    keeping.score(waiting[:1])
    assert_equal(keeping.score(waiting[1:]), [plain.rank("city", ["river bank", "money"])])
    assert waiting[1].num_computed_tokens == waiting[1].num_tokens - waiting[1].tail_start


def test_documents_of_a_waiting_request_are_not_evicted(
    rankers: Rankers,
    texts: Any,
) -> None:
    keeping, plain = rankers()
    lists = texts(5)
    wanted = lists.pool[:6]
    keeping.rank("city", wanted)
    waiting = keeping.encode("rain", wanted)
    for i in range(15):
        keeping.rank("tree", [f"{i} {text}" for text in lists.pool[:9]])
    stats = keeping.document_cache_stats()
    assert stats.evictions > 50
    assert waiting.num_known_documents == 6
    assert_equal(keeping.score([waiting]), [plain.rank("rain", wanted)])


@pytest.mark.parametrize(("stride", "attention"), MASKS)
def test_batches_that_preempt_one_another(
    stride: int, attention: str, rankers: Rankers, texts: Any
) -> None:
    keeping, plain = rankers(tail_stride=stride, document_attention=attention)
    lists = texts(stride)
    for _ in range(2):
        outer, inner = lists.batch(), lists.batch()
        inner[0] = inner[0][0], outer[0][1]  # misses the same documents
        expected = plain.rank_batch(inner)

        def preempt(inner: list[Request] = inner, expected: Any = expected) -> None:
            assert_equal(keeping.rank_batch(inner), expected)

        encoded = [keeping.encode(*request) for request in outer]
        assert_equal(keeping.start(encoded, preempt).result(), plain.rank_batch(outer))
        assert_equal(keeping.rank_batch(outer), plain.rank_batch(outer))


class GivenUpError(Exception):
    pass


@pytest.mark.parametrize("num_steps", [1, 3, 4])
def test_a_pass_that_is_given_up_leaves_nothing(
    num_steps: int, rankers: Rankers, texts: Any
) -> None:
    keeping, plain = rankers(num_bytes=5_000_000)
    lists = texts(num_steps)
    keeping.rank_batch(lists.batch())
    before, num_left, batch = keeping.document_cache_stats(), num_steps, lists.batch()

    def give_up() -> None:
        nonlocal num_left
        num_left -= 1
        if num_left == 0:
            raise GivenUpError

    encoded = [keeping.encode(query, [f"new {text}" for text in pool]) for query, pool in batch]
    with pytest.raises(GivenUpError):
        keeping.start(encoded, give_up)
    after = keeping.document_cache_stats()
    assert (after.num_entries, after.used_bytes) == (before.num_entries, before.used_bytes)
    assert_equal(
        keeping.score(encoded),
        plain.rank_batch([(query, [f"new {text}" for text in pool]) for query, pool in batch]),
    )


def test_threads_that_read_requests_while_others_are_scored(
    rankers: Rankers, texts: Any, read_meanwhile: Any
) -> None:
    keeping, plain = rankers()
    asked = [texts(seed).request() for seed in range(30)]
    expected = plain.rank_batch(asked)
    for i, request in read_meanwhile(keeping, asked):
        assert_equal(keeping.score([request]), [expected[i]])


def test_the_masses_of_heads_are_the_same(rankers: Rankers, texts: Any) -> None:
    keeping, plain = rankers()
    documents = texts(1).pool[:5]
    keeping.rank("city", documents[1:])
    found = keeping.head_masses([keeping.encode("rain", documents)])
    expected = plain.head_masses([plain.encode("rain", documents)])
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)


def test_cards_whose_documents_depend_on_more_refuse(
    open_tiny: OpenTiny, blockrank_card: dict[str, Any]
) -> None:
    with pytest.raises(CheckpointError, match=r"document_cache_bytes is 1000000.* cannot be kept"):
        open_tiny("blockrank", blockrank_card, document_cache_bytes=10**6)


@pytest.mark.parametrize(
    ("num_bytes", "fault"), [(1000, "at least [0-9]+ are"), (-1, "at least 0")]
)
def test_a_bound_that_holds_nothing_is_refused(
    num_bytes: int, fault: str, open_tiny: OpenTiny, reusable_card: dict[str, Any]
) -> None:
    with pytest.raises(CheckpointError, match=f"document_cache_bytes is {num_bytes}, {fault}"):
        open_tiny("blockrank", reusable_card, document_cache_bytes=num_bytes)


def test_a_bound_of_its_own_choice(open_tiny: OpenTiny, reusable_card: dict[str, Any]) -> None:
    ranker = open_tiny("blockrank", reusable_card, document_cache_bytes="auto")
    assert ranker.info.document_cache_bytes > 2**20
    assert ranker.rank("city", ["rain"]) == pytest.approx([1])


def test_a_choice_of_its_own_is_nothing_where_documents_cannot_be_kept(
    open_tiny: OpenTiny, blockrank_card: dict[str, Any], tmp_path: Path
) -> None:
    ranker = open_tiny("blockrank", blockrank_card, document_cache_bytes="auto")
    assert (ranker.info.document_cache_bytes, ranker.documents) == (0, None)
    with pytest.raises(CheckpointError, match=r"document_store is .* cannot be kept"):
        open_tiny("blockrank", blockrank_card, document_cache_bytes="auto", document_store=tmp_path)


def test_a_choice_of_its_own_is_nothing_where_too_little_is_free(
    open_tiny: OpenTiny, reusable_card: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_plan, "available_bytes", lambda _: 2**18)
    ranker = open_tiny("blockrank", reusable_card, document_cache_bytes="auto")
    assert (ranker.info.document_cache_bytes, ranker.documents) == (0, None)


@pytest.mark.parametrize("stride", [1, 4])
def test_the_triton_kernels_see_kept_documents(stride: int, rankers: Rankers, texts: Any) -> None:
    """In Triton's interpreter, where there is no GPU."""
    keeping, plain = rankers(tail_stride=stride)
    keeping._engine._backend = triton_backend()
    lists = texts(stride)
    documents = lists.pool[:4]
    for asked in (documents[:2], documents, documents):
        assert_equal([keeping.rank("rain", asked)], [plain.rank("rain", asked)])
    assert keeping.document_cache_stats().hits == 6
