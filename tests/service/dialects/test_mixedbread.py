from collections.abc import Callable
from typing import Any

import orjson
from starlette.testclient import TestClient

from blockrank_server.service.dialects.mixedbread import Mixedbread

BODY: dict[str, Any] = {"model": "mxbai", "query": "q", "input": ["x", "y"]}


def test_the_answer_byte_by_byte(answer_bytes: Callable[..., bytes]) -> None:
    assert answer_bytes(Mixedbread, BODY, "0.25", "0.75") == (
        b'{"usage":{"prompt_tokens":9,"total_tokens":9},"model":"m",'
        b'"data":[{"index":1,"score":0.75,"object":"rank_result"},'
        b'{"index":0,"score":0.25,"object":"rank_result"}],'
        b'"object":"list","top_k":2,"return_input":false}'
    )


def test_the_input_comes_back_as_it_came(answer_bytes: Callable[..., bytes]) -> None:
    given = [{"title": "a", "body": "x", "more": [1, None]}, "y"]
    body = BODY | {"input": given, "rank_fields": ["body"], "return_input": True, "top_k": 2}
    assert Mixedbread.read(body).request().documents == ("x", "y")
    answer = orjson.loads(answer_bytes(Mixedbread, body, "0.75", "0.25"))
    assert [item["input"] for item in answer["data"]] == given
    assert answer["return_input"] is True


def test_top_k_is_the_number_of_results(answer_bytes: Callable[..., bytes]) -> None:
    answer = orjson.loads(answer_bytes(Mixedbread, BODY | {"top_k": 1}, "0.25", "0.75"))
    assert ([item["index"] for item in answer["data"]], answer["top_k"]) == ([1], 1)


def test_one_path_is_shared_with_llama_cpp(client: TestClient) -> None:
    assert "data" in client.post("/v1/reranking", json=BODY).json()
    body = {"query": "q", "documents": ["x"]}
    assert "results" in client.post("/v1/reranking", json=body).json()
    assert client.post("/mixedbread/v1/reranking", json=body).json()["param"] == "input"
