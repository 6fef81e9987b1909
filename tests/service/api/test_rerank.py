from typing import TYPE_CHECKING, Any

import orjson
import pytest
from starlette.testclient import TestClient

from blockrank_server.models.errors import InputTooLongError

if TYPE_CHECKING:
    from tests.service.conftest import FakeRanker, MakeClient

QUERY = "capital of France"
DOCUMENTS = ["Berlin in Germany", "Paris capital of France", "of course"]
COHERE = {"query": QUERY, "documents": DOCUMENTS}
TEI = {"query": QUERY, "texts": DOCUMENTS}
BODIES = pytest.mark.parametrize("body", [COHERE, TEI], ids=["cohere", "tei"])


def ranking(response: Any) -> list[int]:
    read = response.json()
    return [item["index"] for item in (read if isinstance(read, list) else read["results"])]


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
@BODIES
def test_each_path_answers_both_dialects(client: TestClient, path: str, body: Any) -> None:
    response = client.post(path, json=body)
    assert response.status_code == 200
    assert ranking(response) == [1, 2, 0]


def test_no_content_type_is_needed(client: TestClient) -> None:
    response = client.post("/rerank", content=orjson.dumps(COHERE))
    assert "content-type" not in response.request.headers
    assert ranking(response) == [1, 2, 0]
    response = client.post("/rerank", content=orjson.dumps(TEI), headers={"Content-Type": "text/x"})
    assert ranking(response) == [1, 2, 0]


def test_scores_are_shares_of_the_largest_and_raw_only_if_asked(
    make_client: "MakeClient", fake_ranker: "type[FakeRanker]"
) -> None:
    with make_client(fake_ranker(max_score=4.0)) as client:
        shown = client.post("/rerank", json=TEI).json()
        raw = client.post("/rerank", json=TEI | {"raw_scores": True}).json()
    assert sum(item["score"] for item in shown) == pytest.approx(1.0)
    assert [item["score"] for item in raw] == pytest.approx([4 * i["score"] for i in shown])


def test_top_n_and_return_documents(client: TestClient) -> None:
    response = client.post("/rerank", json=COHERE | {"top_n": 1, "return_documents": True})
    assert [item["document"] for item in response.json()["results"]] == [{"text": DOCUMENTS[1]}]


@BODIES
def test_blank_documents_come_back_with_nothing(client: TestClient, body: Any) -> None:
    field = "texts" if "texts" in body else "documents"
    response = client.post("/rerank", json=body | {field: ["", *DOCUMENTS, " \n"]})
    assert ranking(response) == [2, 3, 1, 0, 4]
    assert response.text.count(":0.0}") == 2


def test_only_blank_documents_need_no_model(
    make_client: "MakeClient", fake_ranker: "type[FakeRanker]"
) -> None:
    ranker = fake_ranker()
    with make_client(ranker) as client:
        response = client.post("/rerank", json={"query": "q", "texts": [" ", ""]})
        assert response.json() == [{"index": 0, "score": 0.0}, {"index": 1, "score": 0.0}]
        assert client.post("/rerank", json={"query": " ", "texts": [""]}).status_code == 400
    assert ranker.batches == []


@BODIES
def test_the_limit_of_documents(
    make_client: "MakeClient", fake_ranker: "type[FakeRanker]", body: Any
) -> None:
    field = "texts" if "texts" in body else "documents"
    with make_client(fake_ranker(max_documents=3)) as client:
        assert client.post("/rerank", json=body).status_code == 200
        response = client.post("/rerank", json=body | {field: ["x"] * 4})
    assert response.status_code == 422
    assert response.json()["error"] == f"{field}: batch size 4 > maximum allowed batch size 3"
    assert response.json()["param"] == field


@BODIES
def test_an_error_counts_and_spells_as_the_caller_does(client: TestClient, body: Any) -> None:
    field = "texts" if "texts" in body else "documents"
    texts = ["", "short", " ", "long " * 51]
    response = client.post("/rerank", json=body | {field: texts, "truncate": False})
    assert response.status_code == 422
    assert response.json()["param"] == f"{field}[3]"
    assert response.json()["message"].startswith(f"{field}[3] is longer than 50 tokens")


@BODIES
def test_what_is_cut_is_told_in_the_caller_s_count(client: TestClient, body: Any) -> None:
    field = "texts" if "texts" in body else "documents"
    texts = ["", "a b c", "a", "a b c d"]
    response = client.post("/rerank", json=body | {field: texts, "max_tokens_per_doc": 2})
    expected = f"2 of 4 {field} truncated: 1, 3"
    assert response.headers["x-rerank-warning"] == expected
    if field == "documents":
        assert response.json()["meta"]["warnings"] == [expected]


def test_a_long_list_of_what_is_cut_is_not_told_in_full(client: TestClient) -> None:
    body = {"query": "a " * 21, "texts": ["a b"] * 30, "max_tokens_per_doc": 1}
    response = client.post("/rerank", json=body)
    listed = ", ".join(map(str, range(20)))
    expected = f"query was truncated; 30 of 30 texts truncated: {listed}, ..."
    assert response.headers["x-rerank-warning"] == expected


def test_nothing_cut_is_no_warning(client: TestClient) -> None:
    response = client.post("/rerank", json=COHERE)
    assert "x-rerank-warning" not in response.headers
    assert "warnings" not in response.json()["meta"]


def test_the_tokens_are_counted(client: TestClient) -> None:
    assert client.post("/rerank", json=COHERE).json()["usage"]["total_tokens"] == 12


@pytest.mark.parametrize(
    ("content", "status", "error_type"),
    [
        (b"", 400, "Validation"),
        (b"{", 400, "Validation"),
        (b"\xff", 400, "Validation"),
        (b"[" * 100_000, 400, "Validation"),
        (b'{"query":"q","texts":["a"],"top_n":1e999}', 400, "Validation"),
        (b"[]", 400, "Validation"),
        (b"{}", 422, "Validation"),
        (b'{"query":"q","texts":[]}', 400, "Empty"),
        (b'{"query":"q","documents":[]}', 400, "Empty"),
        (b'{"query":" ","documents":["a"]}', 400, "Empty"),
        (b'{"query":"q","documents":"a"}', 422, "Validation"),
        (b'{"query":"q","documents":["a"],"top_n":-1}', 422, "Validation"),
        (b'{"query":"q","documents":[' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"]}", 422, None),
        (b'{"query":"q","documents":[' + b"[" * 900 + b"]" * 900 + b"]}", 422, None),
    ],
)
def test_a_bad_body(
    client: TestClient, content: bytes, status: int, error_type: str | None
) -> None:
    response = client.post("/rerank", content=content)
    assert response.status_code == status
    assert response.json()["error_type"] == (error_type or "Validation")
    assert response.json()["code"] == status


def test_a_strict_server_knows_its_name(make_client: "MakeClient") -> None:
    with make_client(strict_model=True) as client:
        assert client.post("/rerank", json=COHERE | {"model": "fake"}).status_code == 200
        assert client.post("/rerank", json=COHERE).status_code == 200
        response = client.post("/rerank", json=COHERE | {"model": "rerank-v3.5"})
    assert (response.status_code, response.json()["param"]) == (404, "model")


def test_any_name_is_accepted_otherwise(client: TestClient) -> None:
    response = client.post("/rerank", json=COHERE | {"model": "rerank-v3.5"})
    assert response.json()["model"] == "fake"


def test_an_error_of_the_model_layer_after_the_queue_is_respelled(
    make_client: "MakeClient", fake_ranker: "type[FakeRanker]", monkeypatch: pytest.MonkeyPatch
) -> None:
    ranker = fake_ranker()

    def refuse(*_: object, **__: object) -> None:
        raise InputTooLongError("max_document_tokens is 1", field="max_document_tokens", value=1)

    monkeypatch.setattr(ranker, "encode", refuse)
    with make_client(ranker) as client:
        response = client.post("/rerank", json=COHERE)
    assert response.json()["message"] == "max_tokens_per_doc is 1"
    assert response.json()["param"] == "max_tokens_per_doc"
