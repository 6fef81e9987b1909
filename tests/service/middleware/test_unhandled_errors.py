import os
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

if TYPE_CHECKING:
    from tests.service.conftest import FakeRanker, MakeClient


def test_a_bug_is_logged_with_its_place_and_without_its_text(
    make_client: "MakeClient", fake_ranker: "type[FakeRanker]", monkeypatch: pytest.MonkeyPatch
) -> None:
    ranker = fake_ranker()

    def encode(query: str, documents: Any, **_: Any) -> None:
        try:
            os.environ[query]
        except KeyError as error:
            raise ValueError(documents) from error

    monkeypatch.setattr(ranker, "encode", encode)
    with make_client(ranker) as client, capture_logs() as lines:
        response = client.post("/rerank", json={"query": "secret q", "texts": ["secret t"]})
    assert response.status_code == 500
    bug = next(line for line in lines if line["event"] == "a bug")
    assert bug["request_id"] == response.headers["x-request-id"]
    assert bug["traceback"].count("in encode") == 2
    assert "ValueError\nafter\n" in bug["traceback"]
    assert bug["traceback"].endswith("KeyError")
    assert "secret" not in str(lines) + response.text
