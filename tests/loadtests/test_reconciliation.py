"""Both sides' counts of requests."""

from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from blockrank_server.service.metrics import Metrics
from open_loop.faults import Fault
from open_loop.reconciliation import Scrape, read_metrics, reconcile
from open_loop.samples import LEFT, TIMEOUT

if TYPE_CHECKING:
    from tests.loadtests.conftest import MakeSample


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry(), ("cohere", "tei"), 16_384)


def scrape(metrics: Metrics) -> Scrape:
    return read_metrics(generate_latest(metrics.registry).decode())


def count(metrics: Metrics, *statuses: int) -> None:
    for status in statuses:
        metrics.finished(dialect="cohere", status=status, duration_s=0.1, num_documents=10)


def test_accepted_is_answered(metrics: Metrics, make_sample: "MakeSample") -> None:
    count(metrics, 200, 200, 429)
    before = scrape(metrics)
    count(metrics, 200, 429, 499, 200)
    metrics.rejected("overloaded")
    left = make_sample(status=None, problem=LEFT, fault=Fault.LEAVING)
    samples = [make_sample(), make_sample(status=429), left, left]
    found = reconcile(before, scrape(metrics), samples)
    assert found.server["rerank_requests_total"] == {"200": 2, "429": 1, "499": 1}
    assert found.server["rerank_rejected_total"] == {"overloaded": 1}
    assert (found.num_received, found.num_sent, found.num_unreconciled) == (4, 4, 0)
    assert found.answered == {"200": 1, "429": 1}


def test_an_answer_the_server_does_not_know_of_is_off(
    metrics: Metrics, make_sample: "MakeSample"
) -> None:
    before = scrape(metrics)
    count(metrics, 504)
    assert reconcile(before, scrape(metrics), [make_sample()]).num_unreconciled == 1


def test_requests_lost_on_either_side_are_off(metrics: Metrics, make_sample: "MakeSample") -> None:
    before = scrape(metrics)
    count(metrics, 200)
    after = scrape(metrics)
    assert reconcile(before, after, [make_sample(), make_sample()]).num_unreconciled == 2
    assert reconcile(before, after, []).num_unreconciled == 1
    timeout = make_sample(status=None, problem=TIMEOUT)
    assert reconcile(before, after, [make_sample(), timeout]).num_unreconciled == 1
    refused = make_sample(status=None, problem="ConnectionRefusedError")
    assert reconcile(before, after, [make_sample(), refused]).num_unreconciled == 0


def test_requests_left_in_the_queue_are_off(metrics: Metrics) -> None:
    metrics.scheduler.watch(
        is_ready=lambda: 1.0,
        num_requests=lambda: 3.0,
        num_tokens=lambda: 0.0,
        predicted_wait_s=lambda: 0.0,
    )
    assert reconcile(scrape(metrics), scrape(metrics), []).num_unreconciled == 3


def test_a_server_without_our_counts_is_refused() -> None:
    with pytest.raises(ValueError, match="rerank_requests_total"):
        read_metrics("up 1\n")
