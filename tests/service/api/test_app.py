import pytest
from starlette.testclient import TestClient


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
