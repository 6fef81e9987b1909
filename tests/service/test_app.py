import re

import orjson
import pytest
from starlette.testclient import TestClient

from blockrank_server.service.errors import all_errors
from blockrank_server.service.openapi import REQUEST_EXAMPLES


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("POST", "/rerank/x", 404),
        ("GET", "/rerank", 405),
        ("POST", "/info", 405),
        ("GET", "/static-offline-docs/nope.js", 404),
    ],
)
def test_unknown_paths_and_methods_have_the_form_of_errors(
    client: TestClient, method: str, path: str, status: int
) -> None:
    response = client.request(method, path)
    body = response.json()
    assert response.status_code == body["code"] == status
    assert body["error_type"] == "NotFound"
    assert body["request_id"] == response.headers["x-request-id"]
    assert ("allow" in response.headers) == (status == 405)


def test_the_docs_need_no_network(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert "//" not in re.sub(r"<!--.*?-->", "", page.text.replace("// ", ""))
    scripts = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(scripts) >= 2
    for path in scripts:
        assert client.get(path).status_code == 200


def test_every_example_of_the_docs_works(client: TestClient) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/rerank"]["post"]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    assert examples == REQUEST_EXAMPLES
    for example in examples.values():
        assert client.post("/rerank", json=example["value"]).status_code == 200


def test_every_error_is_documented(client: TestClient) -> None:
    responses = client.get("/openapi.json").json()["paths"]["/v2/rerank"]["post"]["responses"]
    assert {str(kind.status) for kind in all_errors()} | {"200"} == set(responses)
    for kind in all_errors():
        assert kind.__doc__.split("\n")[0] in responses[str(kind.status)]["description"]  # type: ignore[union-attr]


def test_the_documented_error_is_the_one_given(client: TestClient) -> None:
    responses = client.get("/openapi.json").json()["paths"]["/rerank"]["post"]["responses"]
    error = client.post("/rerank", content=b"{}").json()
    documented = responses["422"]["content"]["application/json"]["schema"]["properties"]
    assert list(error) == list(documented)


def test_the_openapi_document_is_complete_json(client: TestClient) -> None:
    read = orjson.loads(client.get("/openapi.json").content)
    assert {"/rerank", "/v1/rerank", "/v2/rerank", "/health", "/info", "/metrics"} <= set(
        read["paths"]
    )
