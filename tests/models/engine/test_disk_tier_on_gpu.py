"""Documents of a CUDA device's memory go to disk and come back, while batches run."""

import threading
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
    open_on_cuda: Open, texts: Any, tmp_path: Path
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
    encoded: dict[int, Any] = {}

    def read(start: int) -> None:
        for i in range(start, len(asked), 3):
            encoded[i] = again.encode(*asked[i])

    threads = [threading.Thread(target=read, args=(start,)) for start in range(3)]
    for thread in threads:
        thread.start()
    num_done = 0
    while num_done < len(asked):
        for i in list(encoded):
            found = again.score([encoded.pop(i)])[0]
            np.testing.assert_allclose(found, expected[i], atol=2e-2)
            num_done += 1
    for thread in threads:
        thread.join()
    assert again.documents is not None
    stats = again.documents.store_stats()
    assert stats.hits > 30
    assert not any(stats.failures.values())
    assert again.documents.close(30)
