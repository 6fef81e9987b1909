"""Numbers made by the released code: the arbiter (tests/fixtures/README.md)."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockrank_server.models.ranker import Ranker

FIXTURES = Path(__file__).parents[1] / "fixtures"
BLOCKRANK = FIXTURES / "blockrank"
QRRANKER = FIXTURES / "qrranker"


def cases(folder: Path) -> list[Any]:
    lines = (folder / "cases.jsonl").read_text().splitlines()
    return [pytest.param(case, id=case["name"]) for case in map(json.loads, lines)]


def assert_scores(found: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(found, expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("case", cases(BLOCKRANK))
def test_blockrank(
    case: dict[str, Any],
    blockrank_card: dict[str, Any],
    query_free: dict[str, Any],
    open_tiny: Callable[..., Ranker],
) -> None:
    card = blockrank_card
    card["read"] = [{"layer": case["read_layer"], "heads": "all"}]
    card["limits"]["max_document_tokens"] = case["max_document_tokens"]
    if case["layout"] == "query_free":
        card |= query_free
    ranker = open_tiny("blockrank", card, dtype="float32")

    encoded = ranker.encode(case["query"], case["documents"])

    expected = case["expected"]
    edges = [0, *encoded.block_spans[:, 0].tolist(), encoded.tail_start, encoded.num_tokens]
    blocks = list(pairwise(edges))
    assert [encoded.token_ids[a:b].tolist() for a, b in blocks] == expected["block_token_ids"]
    assert [encoded.position_ids[a:b].tolist() for a, b in blocks] == expected["position_ids"]
    assert list(range(*encoded.signal_span)) == expected["signal_indices"]
    assert_scores(ranker.score([encoded])[0], expected["scores"])


@pytest.mark.parametrize("case", cases(QRRANKER))
def test_qrranker(
    case: dict[str, Any], qrranker_card: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    heads: dict[int, list[int]] = {}
    for layer, head in (pair.split("-") for pair in case["heads"]):
        heads.setdefault(int(layer), []).append(int(head))
    read = [{"layer": layer, "heads": found} for layer, found in heads.items()]
    ranker = open_tiny("qrranker", qrranker_card | {"read": read}, dtype="float32")

    encoded = ranker.encode(case["query"], case["documents"])

    expected = case["expected"]
    assert encoded.token_ids.tolist() == expected["token_ids"]
    assert encoded.position_ids.tolist() == list(range(encoded.num_tokens))
    assert encoded.scored_spans.tolist() == expected["chunk_token_ranges"]
    assert list(encoded.signal_span) == expected["query_token_range"]
    assert_scores(ranker.score([encoded])[0], expected["scores"])
