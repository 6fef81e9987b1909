"""Cancelled jobs of a reasoning model, whose chains would go on for long."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from blockrank_server.models.checkpoint.card import BUILT_IN
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.models.reasoning_ranker import ReasoningRanker
from blockrank_server.service.scheduler.job import Drop, Job
from blockrank_server.service.scheduler.reasoning_callers import ReasoningCallers

if TYPE_CHECKING:
    from blockrank_server.service.scheduler.running_batch import ScoresFuture
    from tests.service.scheduler.conftest import MakeBatcher, Observer, Running


@pytest.fixture
def endless(fixtures: Path, tmp_path: Path) -> ReasoningRanker:
    """rank1's tiny checkpoint, whose chains end at 100 tokens and not by themselves."""
    card = json.loads((BUILT_IN / "jhu-clsp--rank1-7b.json").read_bytes())
    card["chain"] |= {"max_tokens": 100, "max_context": 4096}
    card["limits"] |= {"max_document_tokens": 64, "max_query_tokens": 32}
    (tmp_path / "card.json").write_text(json.dumps(card))
    ranker = ReasoningRanker.open(fixtures / "rank1", card=tmp_path / "card.json", device="cpu")
    ranker._rules = replace(ranker._rules, close=(5,) * 9, end_of_text=frozenset())
    return ranker


def test_a_batch_that_nobody_waits_for_ends_at_the_next_step(
    endless: ReasoningRanker, observer: "Observer", make_batcher: "MakeBatcher", running: "Running"
) -> None:
    leaves, stays = (endless.encode("a query", ["one", name]) for name in ("two", "three"))
    steps: list[int] = []
    job: Job | None = None

    def start(
        batch: Sequence[EncodedRequest], between_steps: Callable[[], None] | None
    ) -> "ScoresFuture":
        steps.append(0)

        def count() -> None:
            steps[-1] += 1
            if len(steps) == 1 and steps[0] == 20:
                assert job is not None
                job.future.cancel()
            assert between_steps is not None
            between_steps()

        return endless.start(batch, count)

    batcher = make_batcher()
    job = batcher.submit(leaves)
    after = batcher.submit(stays)
    with running(batcher, start):
        scores = after.future.result(60).scores
    assert scores == endless.score([stays])[0]
    assert steps[0] == 20
    # Of each of 4 layers for what the prompts share, and for their rests; then 99 steps.
    assert steps[1] == 2 * 4 + 99
    assert observer.drops == [Drop.CLIENT_GONE]
    assert not leaves.reasoned


def test_chains_of_one_caller_end_while_those_of_another_go_on(endless: ReasoningRanker) -> None:
    leaves, stays = (endless.encode("a query", ["one", name]) for name in ("two", "three"))
    job = Job(leaves, leaves.num_tokens, 0.0, 1.0, 1.0)
    ReasoningCallers().watch(leaves, float("inf"), job.future)
    num_steps = 0

    def leave() -> None:
        nonlocal num_steps
        num_steps += 1
        if num_steps == 30:
            job.future.cancel()

    endless.start([leaves, stays], leave)
    assert {each.num_tokens for each in leaves.reasoned} < set(range(15, 30))
    assert {each.num_tokens for each in stays.reasoned} == {100}
