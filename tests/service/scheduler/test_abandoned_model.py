"""Cancelled jobs on models whose steps are not those of a fake: a real one, and one without any."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from blockrank_server.models.checkpoint.card import BUILT_IN
from blockrank_server.models.engine.pending_scores import PendingScores
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.models.ranker import Ranker
from blockrank_server.service.scheduler.job import Drop, Job

if TYPE_CHECKING:
    from tests.service.scheduler.conftest import (
        MakeBatcher,
        MakeRequest,
        Model,
        Observer,
        Running,
    )

POISON = 901  # a name of Model


@pytest.mark.parametrize("name", [1, POISON])
def test_a_pass_that_cannot_be_ended_any_more_is_waited_for(
    name: int,
    model: "Model",
    observer: "Observer",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
) -> None:
    """On CUDA, once all is launched; and where the model has no steps."""
    batcher = make_batcher()
    model.gate.clear()
    with running(batcher, lambda batch, _: model.start(batch, None)):
        job = batcher.submit(make_request(5, name))
        assert model.entered.acquire(timeout=60)
        assert job.future.cancel()
        model.gate.set()
        assert batcher.submit(make_request(5, 2)).future.result(60).scores == [2]
        assert job.future.cancelled()
    assert observer.drops == []
    assert observer.num_failed == (name == POISON)


def test_a_real_model_stops_within_the_layer(
    fixtures: Path,
    tmp_path: Path,
    observer: "Observer",
    make_batcher: "MakeBatcher",
    running: "Running",
) -> None:
    built_in = BUILT_IN / "quicktensor--blockrank-msmarco-mistral-7b.json"
    card = json.loads(built_in.read_bytes()) | {"read": [{"layer": 4, "heads": "all"}]}
    (tmp_path / "card.json").write_text(json.dumps(card))
    ranker = Ranker.open(fixtures / "blockrank", card=tmp_path / "card.json", device="cpu")
    leaves, stays = (ranker.encode("a query", ["one text", name]) for name in ("two", "three"))
    num_steps: list[int] = []
    job: Job | None = None

    def start(
        batch: Sequence[EncodedRequest], between_steps: Callable[[], None] | None
    ) -> PendingScores:
        num_steps.append(0)

        def count() -> None:
            num_steps[-1] += 1
            if len(num_steps) == 1 and num_steps[0] == 4:
                assert job is not None
                job.future.cancel()
            assert between_steps is not None
            between_steps()

        return ranker.start(batch, count)

    batcher = make_batcher()
    job = batcher.submit(leaves)
    after = batcher.submit(stays)
    with running(batcher, start):
        assert after.future.result(60).scores == ranker.score([stays])[0]
        assert job.future.cancelled()
    assert num_steps == [4, 2 * (ranker.info.num_layers_kept - 1)]  # attention, and what follows
    assert observer.drops == [Drop.CLIENT_GONE]
