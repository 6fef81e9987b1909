"""The checker itself: what it must notice in a query."""

import pytest

from deploy_kit.labels import Known, UnknownNameError, yielded

COUNT = "rerank_request_duration_seconds_count"


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("up", {"job", "instance"}),
        ("sum(rerank_ready)", set()),
        (f"sum by (documents) (rate({COUNT}[5m]))", {"documents"}),
        ('rerank_requests_total{status=~"429|5.."}', {"job", "instance", "dialect", "status"}),
        (f"sum by (job) (rate({COUNT}[5m])) / sum by (job) (rate({COUNT}[5m]))", {"job"}),
        ("rerank_ready and on (job) up", {"job", "instance"}),
        (
            "histogram_quantile(0.9, sum by (le) (rate(rerank_batch_tokens_bucket[5m])))",
            set(),
        ),
        ("time() - process_start_time_seconds", {"job", "instance"}),
    ],
)
def test_labels_of_a_result(text: str, labels: set[str], known: Known) -> None:
    assert yielded(text, known) == labels


@pytest.mark.parametrize(
    "text",
    [
        "rerank_request_total",
        'rerank_ready{kind="used"}',
        'rerank_requests_total{status="418"}',
        'rerank_requests_total{status=~"200|6.."}',
        f'{COUNT}{{documents="30"}}',
        f"sum by (document) (rate({COUNT}[5m]))",
        "sum by (job) (up) / on (instance) sum by (job) (up)",
        "rerank_requests_total / rerank_ready",
        "histogram_quantile(0.9, sum by (job) (rate(rerank_batch_tokens_bucket[5m])))",
        'rerank_request_duration_seconds_bucket{le="0.3"}',
    ],
)
def test_a_name_that_is_not_there_is_noticed(text: str, known: Known) -> None:
    with pytest.raises(UnknownNameError):
        yielded(text, known)


def test_what_is_not_promql_is_noticed(known: Known) -> None:
    with pytest.raises(ValueError, match="expected type"):
        yielded("rate(up)", known)
