"""Lists through the ranker that serves, in batches."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from blockrank_server.models.checkpoint.card import CARD_FILE
from blockrank_server.models.checkpoint.checkpoint import find_checkpoint
from blockrank_server.models.data.shortlists import Shortlist
from blockrank_server.models.engine.placement import Placement
from blockrank_server.models.evaluation.attention_scorer import AttentionScorer, batches
from blockrank_server.models.evaluation.fingerprint import fingerprint
from blockrank_server.models.evaluation.latency import time_requests

if TYPE_CHECKING:
    from tests.models.conftest import OpenTiny
    from tests.models.evaluation.conftest import MakeSet

SHOWN = {
    "river": "ocean bank tree",
    "money": "engine violin",
    "tree": "bank ocean garden tree",
}


@pytest.fixture
def lists(make_set: "MakeSet") -> tuple[Shortlist, ...]:
    return make_set(SHOWN, {}).lists


@pytest.mark.parametrize("max_tokens", [1, 60, 10_000])
def test_batches_change_no_score(
    open_tiny: "OpenTiny", blockrank_card: Any, query_free: Any, lists: Any, max_tokens: int
) -> None:
    ranker = open_tiny("blockrank", blockrank_card | query_free)
    done: list[int] = []
    found = AttentionScorer(ranker, max_tokens)(lists, done.append)
    assert sum(done) == len(lists)
    for x, row in zip(lists, found, strict=True):
        assert row == pytest.approx(ranker.rank(x.query, x.documents), abs=1e-6)


def test_lists_that_share_documents_share_a_batch(
    open_tiny: "OpenTiny", blockrank_card: Any, query_free: Any, lists: Any
) -> None:
    ranker = open_tiny("blockrank", blockrank_card | query_free)
    encoded = [ranker.encode(x.query, x.documents) for x in lists]
    # Room for the first with what the last adds to it, and not for another document.
    blocks = [request.block_spans[:, 1] - request.block_spans[:, 0] for request in encoded]
    tails = sum(encoded[i].num_tokens - encoded[i].tail_start for i in (0, 2))
    room = tails + int(blocks[0].sum()) + int(blocks[2][2])
    found = list(batches(encoded, room, ranker.card))
    assert sorted(map(sorted, found)) == [[0, 2], [1]]


def test_without_reuse_the_order_stays_and_every_list_counts_whole(
    open_tiny: "OpenTiny", blockrank_card: Any, lists: Any
) -> None:
    ranker = open_tiny("blockrank", blockrank_card)
    encoded = [ranker.encode(x.query, x.documents) for x in lists]
    two = encoded[0].num_tokens + encoded[1].num_tokens
    assert list(batches(encoded, two, ranker.card)) == [[0, 1], [2]]
    assert list(batches(encoded, two - 1, ranker.card)) == [[0], [1], [2]]


def test_only_lists_long_enough_are_timed(
    open_tiny: "OpenTiny", blockrank_card: Any, lists: Any
) -> None:
    ranker = open_tiny("blockrank", blockrank_card)
    found = time_requests(ranker, lists, [2, 4, 9], num_requests=2)
    assert [(x.documents, x.requests) for x in found] == [(2, 2), (4, 1)]
    assert all(0 < x.median_ms <= x.longest_ms for x in found)


def test_another_card_or_other_weights_are_another_ranker(
    tmp_path: Path, fixtures: Path, blockrank_card: Any
) -> None:
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_bytes((fixtures / "blockrank" / name).read_bytes())
    placement = Placement.choose("cpu", "float32", "none")

    def now(**card: Any) -> dict[str, str]:
        (tmp_path / CARD_FILE).write_text(json.dumps(blockrank_card | card))
        return fingerprint(find_checkpoint(str(tmp_path)), placement)

    before = now()
    assert now() == before
    assert {k for k, v in now(reduce_heads="sum").items() if v != before[k]} == {"card"}
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert {k for k, v in now().items() if v != before[k]} == {"weights"}
