"""What a score is: a probability where the card is calibrated, else a share; or what is asked."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient

from blockrank_server.models.checkpoint.calibration import Calibration
from blockrank_server.service.dialects.registry import DIALECTS

if TYPE_CHECKING:
    from tests.service.conftest import FakeRanker, MakeClient

CALIBRATION = Calibration(
    slope=1.5,
    intercept=-0.5,
    level_weight=0.5,
    any_relevant_from=0.6,
    fitted_on=("a",),
    num_lists=500,
    ece=0.03,
    auroc=0.7,
)
BODY: dict[str, Any] = {
    "query": "capital of France",
    "documents": ["Berlin in Germany", "Paris capital of France", "of course"],
}


@pytest.fixture
def calibrated(make_client: "MakeClient", fake_ranker: "type[FakeRanker]") -> Iterator[TestClient]:
    ranker = fake_ranker()
    ranker.card = ranker.card.model_copy(update={"calibration": CALIBRATION})
    with make_client(ranker) as client:
        yield client


def scores(client: TestClient, **fields: Any) -> list[float]:
    results = client.post("/rerank", json=BODY | fields).json()["results"]
    assert [each["index"] for each in results] == [1, 2, 0]
    return [each["relevance_score"] for each in results]


def test_a_calibrated_card_gives_probabilities(calibrated: TestClient) -> None:
    """The fake's level is 0."""
    shares = scores(calibrated, score_type="share")
    assert sum(shares) == pytest.approx(1)
    logits = [1.5 * math.log(3 * share) - 0.5 for share in shares]
    assert scores(calibrated, score_type="logit") == pytest.approx(logits, abs=1e-6)
    assert scores(calibrated, raw_scores=True) == pytest.approx(logits, abs=1e-6)
    assert scores(calibrated, use_activation=False) == pytest.approx(logits, abs=1e-6)
    assert scores(calibrated) == pytest.approx([1 / (1 + math.exp(-z)) for z in logits])
    assert scores(calibrated, score_type="probability") == scores(calibrated)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "probability"),
        ({"raw_scores": True}, "logit"),
        ({"score_type": "share"}, "share"),
        ({"score_type": "share", "raw_scores": True}, "share"),
    ],
)
def test_a_header_says_which(calibrated: TestClient, fields: dict[str, Any], expected: str) -> None:
    response = calibrated.post("/cohere/v2/rerank", json=BODY | fields)
    assert response.headers["X-Score-Type"] == expected
    has_two = "score_type" in fields and "raw_scores" in fields
    said = response.headers.get("X-Rerank-Warning")
    assert said == ("raw_scores is ignored: score_type is given" if has_two else None)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_every_dialect_takes_the_fields(calibrated: TestClient, dialect: Any) -> None:
    body = dialect.example | {"min_score": 1.0}
    headers = {"X-Pinecone-Api-Version": "2025"} if dialect.name == "pinecone" else {}
    path = dialect.path
    kept, all_ = (
        calibrated.post(path, json=each, headers=headers) for each in (body, dialect.example)
    )
    assert (kept.status_code, all_.status_code) == (200, 200)
    assert all_.headers["X-Score-Type"] == "probability"
    if dialect.is_complete:
        assert "min_score is ignored" in kept.headers["X-Rerank-Warning"]
        assert len(kept.text) == pytest.approx(len(all_.text), abs=2)
    else:
        assert len(kept.text) < len(all_.text)


def test_results_below_the_least_score_are_left_out(calibrated: TestClient) -> None:
    best, middle, _ = scores(calibrated)
    for limit, num in ((0.0, 3), (middle, 2), (best, 1), (1.0, 0)):
        found = calibrated.post("/rerank", json=BODY | {"min_score": limit}).json()["results"]
        assert len(found) == num
    fields = {"min_score": -100.0, "raw_scores": True}
    assert len(calibrated.post("/rerank", json=BODY | fields).json()["results"]) == 3


@pytest.mark.parametrize("limit", [-0.1, 1.5, 40])
def test_a_least_score_out_of_range_is_refused(calibrated: TestClient, limit: float) -> None:
    response = calibrated.post("/rerank", json=BODY | {"min_score": limit})
    assert response.status_code == 422
    assert response.json()["error"] == (
        f"min_score is {limit:g}, 0 to 1 is allowed where scores are of the type probability"
    )
    response = calibrated.post("/rerank", json=BODY | {"min_score": "much"})
    assert response.status_code == 422
    assert "min_score" in response.json()["error"]


def test_the_list_is_said_to_hold_something_relevant(calibrated: TestClient) -> None:
    for documents, expected in ((BODY["documents"], True), (["a", "b"], False), ([" "], False)):
        meta = calibrated.post("/rerank", json=BODY | {"documents": documents}).json()["meta"]
        assert meta["any_relevant"] is expected
    shares = calibrated.post("/rerank", json=BODY | {"score_type": "share"}).json()
    assert shares["meta"]["any_relevant"] is True


def test_a_blank_document_has_no_chance(calibrated: TestClient) -> None:
    body = BODY | {"documents": ["", *BODY["documents"]]}
    shown = calibrated.post("/rerank", json=body).json()["results"]
    assert shown[-1] == {"index": 0, "relevance_score": 0.0}
    assert [each["relevance_score"] for each in shown[:3]] == scores(calibrated)
    raw = calibrated.post("/rerank", json=body | {"score_type": "logit"}).json()["results"]
    assert raw[-1]["index"] == 0
    assert raw[-1]["relevance_score"] < -100


def test_without_a_calibration_there_are_shares(client: TestClient) -> None:
    response = client.post("/rerank", json=BODY)
    assert response.headers["X-Score-Type"] == "share"
    assert "any_relevant" not in response.json()["meta"]
    assert scores(client) == scores(client, score_type="share")
    for asked in ("probability", "logit"):
        refused = client.post("/rerank", json=BODY | {"score_type": asked})
        assert refused.status_code == 422
        expected = f"score_type is {asked}, and the model has no calibration: share can be had"
        assert refused.json()["error"] == expected
    assert client.post("/rerank", json=BODY | {"score_type": "odds"}).status_code == 422
