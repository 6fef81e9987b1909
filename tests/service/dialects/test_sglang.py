from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from blockrank_server.service.dialects.sglang import Sglang

BODY = {"query": "q", "documents": ["x", "y"], "instruct": None, "top_n": None}


@pytest.mark.parametrize("change", [{}, {"return_documents": True}, {"return_documents": None}])
def test_the_answer_byte_by_byte(
    answer_bytes: Callable[..., bytes], change: dict[str, bool | None]
) -> None:
    assert answer_bytes(Sglang, BODY | change, "0.25", "0.75") == (
        b'[{"score":0.75,"document":"y","index":1,"meta_info":null},'
        b'{"score":0.25,"document":"x","index":0,"meta_info":null}]'
    )


def test_documents_can_be_left_out(answer_bytes: Callable[..., bytes]) -> None:
    body = BODY | {"return_documents": False, "top_n": 1}
    assert (
        answer_bytes(Sglang, body, "0.25", "0.75") == b'[{"score":0.75,"index":1,"meta_info":null}]'
    )


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_only_its_own_path_answers_so(client: TestClient, method: str) -> None:
    assert isinstance(client.request(method, "/sglang/v1/rerank", json=BODY).json(), list)
    assert "results" in client.post("/v1/rerank", json=BODY).json()


def test_an_instruction_is_ignored_aloud(client: TestClient) -> None:
    response = client.post("/sglang/v1/rerank", json=BODY | {"instruct": "prefer short ones"})
    assert response.headers["x-rerank-warning"] == (
        "instruct is ignored: the model's prompt has no place for it"
    )
