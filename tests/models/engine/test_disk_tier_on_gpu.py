"""Documents of a CUDA device's memory go to disk and come back, while batches run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blockrank_server.models.ranker import Ranker

pytestmark = pytest.mark.gpu

Open = Callable[..., Ranker]


@pytest.fixture(params=[("float32", 1), ("bfloat16", 1), ("bfloat16", 4)], ids=str)
def open_on_cuda(
    request: pytest.FixtureRequest, open_tiny: Open, reusable_card: dict[str, Any]
) -> Open:
    dtype, stride = request.param
    card = reusable_card | {"tail_stride": stride}
    return lambda **options: open_tiny("blockrank", card, device="cuda", dtype=dtype, **options)


def test_documents_read_while_others_are_scored_score_the_same(
    open_on_cuda: Open, texts: Any, tmp_path: Path, read_meanwhile: Any
) -> None:
    kept = {"document_cache_bytes": 700_000, "document_store": tmp_path / "store"}
    first, plain, lists = open_on_cuda(**kept), open_on_cuda(), texts(1)
    asked = [lists.request() for _ in range(40)]
    expected = [plain.rank(*request) for request in asked]
    for request, right in zip(asked, expected, strict=True):
        np.testing.assert_allclose(first.rank(*request), right, atol=2e-2)
    assert first.documents is not None
    assert first.documents.close(30)
    again = open_on_cuda(**kept)
    again._engine._memory._pool._rows_UKD.fill_(torch.nan)  # type: ignore[union-attr]
    for i, encoded in read_meanwhile(again, asked):
        np.testing.assert_allclose(again.score([encoded])[0], expected[i], atol=2e-2)
    assert again.documents is not None
    stats = again.documents.store_stats()
    # How many depends on the device: what waits to be scored is pinned, and where memory is full of
    # that, a document is computed again instead of read.
    assert stats.hits > 10
    assert not any(stats.failures.values())
    assert again.documents.close(30)
