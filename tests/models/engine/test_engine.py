"""Starting batches, waiting for them, and running out of memory."""

import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from blockrank_server.models.engine.attention_reader import AttentionReader
from blockrank_server.models.engine.fused_network import SLICE_TOKENS
from blockrank_server.models.engine.network import Network
from blockrank_server.models.engine.packing import PackedBatch, pack
from blockrank_server.models.engine.reader import Reader
from blockrank_server.models.errors import DeviceLostError, DeviceMemoryError
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.models.ranker import Ranker


class SmallDevice:
    """An engine's forward pass on a device that holds so many tokens, and what came to it."""

    def __init__(self, ranker: Ranker, max_tokens: int) -> None:
        self._engine = ranker._engine
        self._forward = self._engine.forward
        self._max_tokens = max_tokens
        self.seen: list[int] = []
        self.left_behind: list[weakref.ref[torch.Tensor]] = []
        self._engine.forward = self  # type: ignore[method-assign]

    def __call__(
        self, batch: PackedBatch, between_steps: Callable[[], None] | None = None
    ) -> Reader:
        assert all(ref() is None for ref in self.left_behind), "a failed pass still holds memory"
        self.seen.append(batch.num_tokens)
        activations = torch.ones(batch.num_tokens)
        if batch.num_tokens > self._max_tokens:
            self.left_behind.append(weakref.ref(activations))
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self._forward(batch, between_steps)


@pytest.fixture
def ranker(blockrank_card: dict[str, Any], open_tiny: Callable[..., Ranker]) -> Ranker:
    return open_tiny("blockrank", blockrank_card)


@pytest.fixture
def batch(ranker: Ranker) -> list[EncodedRequest]:
    return [
        ranker.encode(f"query {n}", [f"text {i} " * n for i in range(n)]) for n in (16, 2, 2, 3)
    ]


def test_a_batch_that_does_not_fit_is_split_once_by_tokens(
    ranker: Ranker, batch: list[EncodedRequest]
) -> None:
    expected = ranker.score(batch)
    first, *others = (request.num_tokens for request in batch)
    device = SmallDevice(ranker, max(first, sum(others)))
    pending = ranker.start(batch)
    assert device.seen == [first + sum(others), first, sum(others)]
    assert pending.was_split
    for row, whole in zip(pending.result(), expected, strict=True):
        np.testing.assert_allclose(row, whole, atol=1e-6)


@pytest.mark.parametrize("fitting", ["neither half", "the first half alone"])
def test_halves_that_do_not_fit_are_an_error(
    fitting: str, ranker: Ranker, batch: list[EncodedRequest]
) -> None:
    batch = [*batch[1:], batch[0]]  # the larger half comes second
    sizes = [request.num_tokens for request in batch]
    device = SmallDevice(ranker, 1 if fitting == "neither half" else sum(sizes[:3]))
    with pytest.raises(DeviceMemoryError, match=f"4 requests with {sum(sizes)} tokens") as caught:
        ranker.score(batch)
    assert len(device.seen) == (2 if fitting == "neither half" else 3)
    # Whoever keeps the error keeps no tensor of the passes that failed.
    assert caught.value.__context__ is None


def test_one_request_that_does_not_fit_is_an_error(
    ranker: Ranker, batch: list[EncodedRequest]
) -> None:
    device = SmallDevice(ranker, batch[0].num_tokens - 1)
    with pytest.raises(DeviceMemoryError, match="1 requests with"):
        ranker.start(batch[:1])
    assert len(device.seen) == 1
    assert len(ranker.score(batch[1:2])[0]) == 2  # the next one is served


def test_another_error_is_not_taken_for_a_lack_of_memory(
    ranker: Ranker, batch: list[EncodedRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> AttentionReader:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(ranker._engine, "forward", broken)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        ranker.score(batch)


def test_batches_started_before_a_result_is_read(
    ranker: Ranker, batch: list[EncodedRequest]
) -> None:
    first, second = ranker.start(batch[:2]), ranker.start(batch[2:])
    assert second.result() == ranker.score(batch[2:])
    assert first.result() == ranker.score(batch[:2])
    assert not first.was_split
    assert first.is_done == (ranker.info.device == "cpu")
    assert [len(row) for row in first.result()] == [16, 2]
    alone = [level for each in batch for level in ranker.start([each]).levels()]
    assert [*first.levels(), *second.levels()] == pytest.approx(alone, abs=1e-5)


def num_steps(ranker: Ranker, batch: list[EncodedRequest]) -> int:
    """In each layer attention, and what follows of every slice of the tokens."""
    num_slices = math.ceil(pack(batch, ranker._engine._card).num_tokens / SLICE_TOKENS)
    return (1 + num_slices) * (ranker.info.num_layers_kept - 1)


def test_a_batch_between_the_layers_of_another_changes_neither(
    ranker: Ranker, batch: list[EncodedRequest]
) -> None:
    expected = ranker.score(batch[:2]), ranker.score(batch[2:])
    inner: list[list[list[float]]] = []
    outer = ranker.start(batch[:2], lambda: inner.append(ranker.score(batch[2:]))).result()
    assert len(inner) == num_steps(ranker, batch[:2])
    assert outer == expected[0]
    assert all(rows == expected[1] for rows in inner)


class GivenUpError(Exception):
    pass


class GiveUp:
    """Ends a pass after so many steps."""

    def __init__(self, num_steps: int) -> None:
        self.num_left = num_steps

    def __call__(self) -> None:
        self.num_left -= 1
        if self.num_left == 0:
            raise GivenUpError


@pytest.mark.parametrize("num_steps", [1, 2, 3, 7])
def test_a_pass_ends_at_the_step_after_which_it_is_given_up(
    num_steps: int, ranker: Ranker, batch: list[EncodedRequest]
) -> None:
    expected, give_up = ranker.score(batch), GiveUp(num_steps)
    with pytest.raises(GivenUpError):
        ranker.start(batch, give_up)
    assert give_up.num_left == 0  # no step more, and no halves of it
    assert ranker.score(batch) == expected


def test_the_halves_of_a_batch_are_given_up_too(
    ranker: Ranker, batch: list[EncodedRequest]
) -> None:
    expected = ranker.score(batch[:1])
    first, *others = (request.num_tokens for request in batch)
    device = SmallDevice(ranker, max(first, sum(others)))
    give_up = GiveUp(num_steps(ranker, batch[:1]) + 1)  # the first of the second half
    with pytest.raises(GivenUpError):
        ranker.start(batch, give_up)
    assert device.seen == [first + sum(others), first, sum(others)]
    assert give_up.num_left == 0
    assert ranker.score(batch[:1]) == expected


def test_a_batch_that_preempts_is_given_up_alone(
    ranker: Ranker, batch: list[EncodedRequest]
) -> None:
    expected, num_inner = ranker.score(batch[:2]), 0

    def start_inner() -> None:
        nonlocal num_inner
        num_inner += 1
        with pytest.raises(GivenUpError):
            ranker.start(batch[2:], GiveUp(2))

    assert ranker.start(batch[:2], start_inner).result() == expected
    assert num_inner == num_steps(ranker, batch[:2])


def test_a_device_that_fails_is_told_from_a_batch_that_fails(
    ranker: Ranker, batch: list[EncodedRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(Network, "forward", fail)
    with pytest.raises(DeviceLostError, match="cpu failed: CUDA error"):
        ranker.start(batch)


def test_slices_of_the_tokens_give_the_same_scores(
    ranker: Ranker, batch: list[EncodedRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ranker.score(batch)
    monkeypatch.setattr(ranker._engine._network, "_slice_tokens", 7)
    for row, expected in zip(ranker.score(batch), whole, strict=True):
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-7)
