"""The server's own deadline, and requests that cannot meet theirs."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from blockrank_server.service.api.deadline import TIMEOUT_MS_ON_CPU, TIMEOUT_MS_ON_CUDA
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from tests.service.conftest import FakeRanker, Gate, MakeClient

DOCUMENTS = ["Berlin in Germany", "Paris capital of France", "of course"]
COHERE = {"query": "capital of France", "documents": DOCUMENTS}  # 12 tokens
TEI = {"query": "capital of France", "texts": DOCUMENTS}
OTHER = COHERE | {"query": "another one please"}
SHORT = {"X-Request-Timeout-Ms": "500"}
SETTING = "the server's setting BLOCKRANK_REQUEST_TIMEOUT_MS"


def known_as_slow(ranker: "FakeRanker") -> "FakeRanker":
    """By its warm-up it takes a tenth of a second a token; it answers at once."""
    ranker.warm_up = lambda: ((10, 1.0), (100, 10.0))  # type: ignore[method-assign]
    return ranker


@pytest.mark.parametrize(
    ("device", "expected_ms"), [("cpu", 60_000), ("cuda", 8_000), ("cuda:1", 8_000)]
)
def test_a_deadline_that_is_not_set_is_that_of_the_device(
    make_client: "MakeClient", fake_ranker: "type[FakeRanker]", device: str, expected_ms: int
) -> None:
    ranker = fake_ranker()
    ranker.info = replace(ranker.info, device=device)
    with make_client(ranker) as client:
        assert client.get("/info").json()["request_timeout_ms"] == expected_ms
    with make_client(ranker, request_timeout_ms=77) as client:
        assert client.get("/info").json()["request_timeout_ms"] == 77


def test_the_setting_says_what_unset_means() -> None:
    described = Settings.model_fields["request_timeout_ms"].description or ""
    assert f"{TIMEOUT_MS_ON_CPU} on the CPU and {TIMEOUT_MS_ON_CUDA} on CUDA" in described


@pytest.mark.parametrize(
    ("body", "field"), [(COHERE, "documents"), (TEI, "texts")], ids=["cohere", "tei"]
)
def test_what_no_idle_server_can_do_in_time_is_refused_with_the_ways_out(
    make_client: "MakeClient", fake_ranker: "type[FakeRanker]", body: Any, field: str
) -> None:
    ranker = known_as_slow(fake_ranker())
    with make_client(ranker) as client:
        response = client.post("/rerank", json=body, headers=SHORT)
        assert (
            'rerank_rejected_total{reason="deadline_too_short"} 1.0' in client.get("/metrics").text
        )
    assert ranker.batches == []
    assert response.status_code == 422
    assert "retry-after" not in response.headers
    error = response.json()
    assert (error["error_type"], error["type"], error["param"]) == (
        *("Validation", "invalid_request_error"),
        field,
    )
    for part in (
        *(f"{field} and query have 12 tokens", "at least 120", "deadline of 500 ms"),
        *(f"fewer {field}", "max_tokens_per_doc", "X-Request-Timeout-Ms up to 60000"),
    ):
        assert part in error["message"]
    assert SETTING not in error["message"]


@pytest.mark.parametrize(
    ("headers", "ways"),
    [({}, SETTING), (SHORT, f"X-Request-Timeout-Ms up to 1000, then {SETTING}")],
    ids=["the server's", "a shorter one"],
)
def test_where_the_servers_own_deadline_is_too_short_its_setting_is_named(
    make_client: "MakeClient",
    fake_ranker: "type[FakeRanker]",
    headers: dict[str, str],
    ways: str,
) -> None:
    with make_client(known_as_slow(fake_ranker()), request_timeout_ms=1000) as client:
        response = client.post("/rerank", json=COHERE, headers=headers)
    assert response.status_code == 422
    assert response.json()["message"].endswith(f"allow more time: {ways}")


def test_a_batch_that_is_faster_than_the_warm_up_ends_the_refusals(
    make_client: "MakeClient", fake_ranker: "type[FakeRanker]"
) -> None:
    with make_client(known_as_slow(fake_ranker())) as client:
        statuses = [
            client.post("/rerank", json=COHERE, headers=headers).status_code
            for headers in (SHORT, {}, SHORT)
        ]
    assert statuses == [422, 200, 200]


def test_what_a_busy_server_could_do_later_is_to_be_sent_again(
    make_client: "MakeClient", gate: "Gate"
) -> None:
    with make_client(known_as_slow(gate.ranker())) as client, ThreadPoolExecutor() as pool:
        first = pool.submit(client.post, "/rerank", json=COHERE)
        assert gate.entered.wait(60)
        late = client.post("/rerank", json=OTHER, headers={"X-Request-Timeout-Ms": "1400"})
        hopeless = client.post("/rerank", json=OTHER, headers=SHORT)
        gate.opened.set()
        assert first.result(60).status_code == 200
    assert (late.status_code, hopeless.status_code) == (429, 422)
    assert int(late.headers["retry-after"]) >= 1
