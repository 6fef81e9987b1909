"""What a caller reads when the device's memory is too small for a request."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from blockrank_server.models.errors import DeviceMemoryError
from blockrank_server.models.prompt.request import EncodedRequest

if TYPE_CHECKING:
    from tests.service.conftest import FakeRanker, MakeClient

BODY = {"query": "capital", "texts": ["Berlin in Germany", "Paris capital"]}  # 6 tokens


def test_a_request_that_cannot_fit_is_refused_by_its_size(
    make_client: "MakeClient", fake_ranker: "type[FakeRanker]"
) -> None:
    ranker = fake_ranker()
    ranker.info = replace(ranker.info, max_batch_tokens=6)
    with make_client(ranker) as client:
        assert client.post("/rerank", json=BODY).status_code == 200
        larger = client.post("/rerank", json=BODY | {"texts": ["Berlin in Germany", "of France x"]})
    assert (larger.status_code, larger.json()["param"]) == (422, "texts")
    assert "7 tokens, the device's memory holds 6" in larger.json()["detail"]


def test_memory_that_runs_out_after_all_is_told(
    make_client: "MakeClient", fake_ranker: "type[FakeRanker]"
) -> None:
    def run_out(batch: Sequence[EncodedRequest]) -> None:
        raise DeviceMemoryError(f"{len(batch)} requests do not fit the memory of cuda")

    with make_client(fake_ranker(before_score=run_out)) as client:
        response = client.post("/rerank", json={"query": "q", "documents": ["a"]})
    assert response.status_code == 500
    assert response.json()["message"] == "1 requests do not fit the memory of cuda"
