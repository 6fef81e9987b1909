"""Small batches as graphs: the scores of every batch, by a graph that runs its work once more."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from blockrank_server.models.engine.cuda_graphs import BUCKETS, Buffers, TokenGraphs, can_capture
from blockrank_server.models.engine.engine import Engine
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.ranker import Ranker

OpenTiny = Callable[..., Ranker]
WORDS = ["river", "bank", "money", "tree", "stone", "paris", "capital", "city", "list", "rain"]


class Replays:
    """Stands in for a device: a graph is its work, over the same buffers, and is counted."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        work()

        def replay() -> None:
            self.count += 1
            work()

        return replay


def graphed(ranker: Ranker) -> tuple[Ranker, Replays]:
    replays = Replays()
    ranker._engine._capture = replays
    assert ranker._engine.capture_graphs()
    return ranker, replays


def num_pieces(ranker: Ranker) -> int:
    return len(ranker._engine._network.whole_layers) + 1


def documents(seed: int, count: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, n)) for n in random.integers(0, 40, count)]


def assert_same(found: Any, expected: Any) -> None:
    for row, plain in zip(found, expected, strict=True):
        np.testing.assert_allclose(row, plain, atol=1e-5, rtol=1e-4)


@pytest.fixture(params=["blockrank", "qrranker"])
def open_card(request: pytest.FixtureRequest, open_tiny: OpenTiny) -> OpenTiny:
    fields = request.getfixturevalue(f"{request.param}_card")
    return partial(open_tiny, request.param, fields)


def test_scores_are_those_without_graphs_whatever_ran_before(open_card: OpenTiny) -> None:
    plain, (ranker, replays) = open_card(), graphed(open_card())
    num_replays = []
    for seed, count in enumerate([5, 1, 12, 2, 60, 3]):
        asked = [("river bank", documents(seed, count))]
        before = replays.count
        assert_same(ranker.rank_batch(asked), plain.rank_batch(asked))
        num_replays.append(replays.count - before)
    assert num_replays[:4] == [num_pieces(ranker)] * 4
    assert num_replays[-1] == num_pieces(ranker)
    large = ranker.encode("river bank", documents(4, 60))
    assert (num_replays[4] == 0) == (large.num_tokens > BUCKETS[-1])


@pytest.mark.parametrize("off", [-1, 0, 1])
def test_a_bucket_is_the_least_that_holds_the_tokens(off: int) -> None:
    zeros = torch.zeros(16, 4)
    ran: list[int] = []

    def piece(buffers: Buffers) -> None:
        ran.append(len(buffers.hidden_TC))

    buffers = Buffers(zeros, zeros, zeros, zeros, zeros[:, None])
    graphs = TokenGraphs(buffers, [piece], Replays(), (4, 8, 16))
    ran.clear()
    with graphs.taken(8 + off) as found:
        assert found is not None
        found.replay(0)
        assert len(found.buffers.heads_ThD) == 8 + off
    assert ran == [16 if off == 1 else 8]
    for num_tokens in (0, 17):
        with graphs.taken(num_tokens) as found:
            assert found is None


def test_buckets_ascend() -> None:
    assert list(BUCKETS) == sorted(set(BUCKETS))
    assert (BUCKETS[0], BUCKETS[-1]) == (32, 1536)


def test_explanations_are_those_without_graphs(open_card: OpenTiny) -> None:
    plain, (ranker, replays) = open_card(), graphed(open_card())
    texts = [*documents(1, 3), "The river rose. Nobody was hurt.", ""]
    for found, expected in zip(
        ranker.explain("bank", texts), plain.explain("bank", texts), strict=True
    ):
        assert found.score == pytest.approx(expected.score, abs=1e-5)
        shares = [[s.share for s in each.explanation.sentences] for each in (found, expected)]
        np.testing.assert_allclose(shares[0], shares[1], atol=1e-5)
    assert replays.count == num_pieces(ranker)


def test_known_documents_score_the_same(
    rankers: Callable[..., tuple[Ranker, Ranker]], texts: Any
) -> None:
    keeping, plain = rankers()
    ranker, replays = graphed(keeping)
    lists = texts(1)
    for _ in range(12):
        batch = lists.batch()
        assert_same(ranker.rank_batch(batch), plain.rank_batch(batch))
    assert ranker.document_cache_stats().hits > 10
    assert replays.count >= 6 * num_pieces(ranker)


def test_a_batch_that_preempts_another_runs_without_graphs(open_card: OpenTiny) -> None:
    plain, (ranker, replays) = open_card(), graphed(open_card())
    outer, inner = (
        [(query, documents(seed, 4))] for query, seed in (("river", 1), ("capital city", 2))
    )
    found_inside: list[list[float]] = []
    [short] = [ranker.encode(*each) for each in inner]

    def preempt() -> None:
        before = replays.count
        found_inside.append(ranker.start([short]).result()[0])
        assert replays.count == before

    pending = ranker.start([ranker.encode(*each) for each in outer], preempt)
    expected = plain.score([plain.encode(*each) for each in (*outer, *inner)])
    assert_same(pending.result(), expected[:1])
    assert_same(found_inside, expected[1:] * len(found_inside))
    assert len(found_inside) == 2 * (num_pieces(ranker) - 1)
    assert replays.count == num_pieces(ranker)


def test_a_pass_given_up_gives_the_buffers_back(open_card: OpenTiny) -> None:
    ranker, replays = graphed(open_card())
    asked = [ranker.encode("river", documents(1, 4))]
    expected = ranker.score(asked)

    class GivenUpError(Exception):
        pass

    def give_up() -> None:
        raise GivenUpError

    with pytest.raises(GivenUpError):
        ranker.start(asked, give_up)
    before = replays.count
    assert_same(ranker.score(asked), expected)
    assert replays.count - before == num_pieces(ranker)


def test_what_fails_to_be_captured_is_an_error_that_says_how_to_go_without(
    open_card: OpenTiny,
) -> None:
    ranker = open_card()

    def fail(_: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("operation not permitted when stream is capturing")

    ranker._engine._capture = fail
    with pytest.raises(CheckpointError, match="cuda_graphs=off serves without them: operation"):
        ranker.warm_up()


def test_a_warmed_up_ranker_uses_its_graphs(open_card: OpenTiny) -> None:
    ranker, replays = open_card(), Replays()
    ranker._engine._capture = replays
    ranker.warm_up()
    before = replays.count
    ranker.rank("river", documents(0, 2))
    assert replays.count - before == num_pieces(ranker)


def test_the_cpu_and_whole_weights_run_without() -> None:
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert [can_capture(cuda, how) for how in ("none", "fp8", "int8", "int4")] == [
        *(True, True, False, False)
    ]
    assert not can_capture(cpu, "none")
    engine = Engine.__new__(Engine)
    engine._capture = None
    assert not engine.capture_graphs()
