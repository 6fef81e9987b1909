"""Small batches as CUDA graphs, on a CUDA device: the scores without, and the memory they take."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from blockrank_server.models.engine.cuda_graphs import BUCKETS, GraphedPass
from blockrank_server.models.engine.fused_network import FusedNetwork
from blockrank_server.models.engine.pending_scores import PendingScores
from blockrank_server.models.ranker import Ranker

pytestmark = pytest.mark.gpu

WORDS = ["capital", "river", "France", "Paris", "mountain", "rain", "of", "the", "in"]
PLACES: dict[str, dict[str, str]] = {
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "fp8": {"dtype": "bfloat16", "quantization": "fp8"},
}


@pytest.fixture
def num_replays(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Get the number of every piece that is replayed."""
    pieces: list[int] = []
    replay = GraphedPass.replay

    def counted(graphed: GraphedPass, piece: int) -> None:
        pieces.append(piece)
        replay(graphed, piece)

    monkeypatch.setattr(GraphedPass, "replay", counted)
    return pieces


@pytest.fixture
def open_on(
    blockrank_card: dict[str, Any], query_free: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> Callable[..., Ranker]:
    """Open the tiny checkpoint, whose documents can be kept, on CUDA, and warm it up."""

    def open_(**options: Any) -> Ranker:
        card = blockrank_card | query_free
        ranker = open_tiny("blockrank", card, device="cuda", **options)
        ranker.warm_up()
        return ranker

    return open_


@pytest.fixture
def exact(
    blockrank_card: dict[str, Any], query_free: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> Ranker:
    return open_tiny("blockrank", blockrank_card | query_free, dtype="float32")


def lists(seed: int) -> list[tuple[str, list[str]]]:
    """Lists of several sizes, one after another; half of a list's documents come back."""
    random = np.random.default_rng(seed)

    def text(size: int) -> str:
        return " ".join(random.choice(WORDS, size))

    pool = [text(size) for size in random.integers(1, 40, 40)]
    counts = (5, 30, 1, 12, 2, 70)
    return [(text(3), [pool[i % 40] for i in random.integers(0, 60, n)]) for n in counts]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("num_bytes", [0, 10**8], ids=["none known", "known"])
def test_scores_are_those_without_graphs(
    place: str,
    num_bytes: int,
    open_on: Callable[..., Ranker],
    exact: Ranker,
    num_replays: list[int],
) -> None:
    """But for sums in another order, which rounding makes as large as its own errors."""
    plain, graphed = (
        open_on(**PLACES[place], document_cache_bytes=num_bytes, cuda_graphs=how)
        for how in ("off", "auto")
    )
    assert (plain.info.cuda_graph_bytes, graphed.info.cuda_graph_bytes > 0) == (0, True)
    num_replays.clear()
    asked = lists(1) * 2
    without, found, right = (
        np.concatenate([ranker.rank(*each) for each in asked]) for ranker in (plain, graphed, exact)
    )
    if place == "float32":
        np.testing.assert_allclose(found, without, atol=1e-5, rtol=1e-3)
    assert np.linalg.norm(found - right) <= 1.5 * np.linalg.norm(without - right) + 1e-3
    num_pieces = graphed.info.num_layers_kept
    assert len(num_replays) >= 8 * num_pieces
    assert num_replays[:num_pieces] == list(range(num_pieces))


def test_a_batch_that_preempts_another_leaves_its_buffers_alone(
    open_on: Callable[..., Ranker],
) -> None:
    ranker = open_on(dtype="float32")
    outer, inner = ([ranker.encode(*each)] for each in lists(2)[:2])
    expected = [ranker.score(batch)[0] for batch in (outer, inner)]
    pending: list[PendingScores] = []

    def preempt() -> None:
        if len(pending) < 3:
            pending.append(ranker.start(inner))

    found = ranker.start(outer, preempt).result()[0]
    np.testing.assert_allclose(found, expected[0], atol=1e-5, rtol=1e-3)
    for each in pending:
        np.testing.assert_allclose(each.result()[0], expected[1], atol=1e-5, rtol=1e-3)
    assert len(pending) == 3


@pytest.mark.parametrize("place", PLACES)
def test_graphs_take_no_more_memory_than_was_planned(
    place: str, blockrank_card: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    ranker = open_tiny("blockrank", blockrank_card, device="cuda", **PLACES[place])
    ranker.rank("river", ["rain"])
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    assert ranker._engine.capture_graphs()
    assert torch.cuda.memory_reserved() - before <= ranker.info.cuda_graph_bytes
    network = ranker._engine._network
    assert isinstance(network, FusedNetwork)
    with torch.inference_mode(), network._taken(BUCKETS[-1]) as found:
        assert found is not None
