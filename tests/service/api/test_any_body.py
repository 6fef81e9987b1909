"""Whatever is posted, the answer is a ranking or an error in the form of errors."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from blockrank_server.service.dialects.registry import DIALECTS, ROUTES

PATHS = [route.path for route in ROUTES] + ["/tokenize"]
QUERIES = sorted({name for dialect in DIALECTS for name in dialect.query_fields})
DOCUMENTS = sorted({name for dialect in DIALECTS for name in dialect.documents_fields})
OPTIONS = sorted(
    {name for dialect in DIALECTS for name in dialect.model_json_schema()["properties"]}
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
TEXTS = st.lists(st.text(max_size=20), max_size=5)
OBJECTS = st.dictionaries(st.sampled_from(["text", "title", "doc", "docid", "a"]), JSON)
LIKELY = st.builds(
    lambda query, documents, options: options | query | documents,
    st.dictionaries(st.sampled_from(QUERIES), st.text(max_size=8), min_size=1),
    st.dictionaries(
        st.sampled_from(DOCUMENTS), TEXTS | st.lists(OBJECTS, max_size=3), min_size=1, max_size=2
    ),
    st.dictionaries(st.sampled_from([*OPTIONS, "x"]), st.none() | st.booleans() | JSON, max_size=3),
)
ANY = st.dictionaries(st.sampled_from([*OPTIONS, "inputs", "prompt"]), JSON)


def scores_in(value: object) -> list[object]:
    """Every number called a score, wherever it stands."""
    if isinstance(value, list):
        return [score for part in value for score in scores_in(part)]
    if not isinstance(value, dict):
        return []
    names = ("score", "relevance_score", "logit")
    found = [v for k, v in value.items() if k in names and v is not None]
    hidden = ("document", "doc", "input")  # what the caller sent
    return found + [s for k, v in value.items() if k not in hidden for s in scores_in(v)]


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=400,
)
@given(
    path=st.sampled_from(PATHS),
    content=st.binary(max_size=40) | (LIKELY | ANY).map(json.dumps).map(str.encode),
)
def test_no_body_makes_the_server_fail(client: TestClient, path: str, content: bytes) -> None:
    response = client.post(path, content=content)
    read = orjson.loads(response.content)
    if response.status_code == 200:
        assert all(isinstance(s, float) and 0 <= s <= 1 for s in scores_in(read))
    else:
        assert response.status_code in (400, 422)
        assert read["error"] == read["message"] == read["detail"]
        assert read["code"] == response.status_code


@pytest.mark.parametrize(
    "body",
    [
        {"input": ["x", {"text": "y", "deep": 0}], "return_input": True},
        {"candidates": [{"docid": "d", "doc": {"text": "y", "deep": 0}}]},
        {"documents": [{"text": "y", "deep": 0}], "return_documents": True},
    ],
)
def test_a_document_that_comes_back_may_be_as_deep_as_it_can_be_written(
    client: TestClient, body: dict[str, Any]
) -> None:
    def nested(levels: int) -> Any:
        deep = "0"
        for _ in range(levels):
            deep = f"[{deep}]"
        text = json.dumps({"query": "y"} | body).replace('"deep": 0', f'"deep": {deep}')
        return client.post("/rerank", content=text, headers={"X-Pinecone-Api-Version": "1"})

    assert nested(63).status_code == 200
    assert nested(64).status_code == 422
    assert nested(300).status_code == 422
    assert "nested deeper than 64 levels" in nested(300).json()["message"]
