from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from blockrank_server.service.dialects.request import RerankRequest
from blockrank_server.service.dialects.tei import Tei
from blockrank_server.service.errors import BackendError, InvalidFieldError

BODY = {"query": "q", "texts": ["x", "y"]}


def test_the_answer_byte_by_byte(answer_bytes: Callable[..., bytes]) -> None:
    answer = answer_bytes(Tei, BODY, "0.25", "0.75")
    assert answer == b'[{"index":1,"score":0.75},{"index":0,"score":0.25}]'


def test_texts_come_back_only_if_asked(answer_bytes: Callable[..., bytes]) -> None:
    answer = answer_bytes(Tei, BODY | {"return_text": True, "top_n": 1}, "0.25", "0.75")
    assert answer == b'[{"index":1,"text":"y","score":0.75}]'
    assert b"text" not in answer_bytes(Tei, BODY | {"return_text": None}, "0.25", "0.75")


def test_what_haystack_and_elasticsearch_send() -> None:
    body = BODY | {"raw_scores": False, "truncate": True, "truncation_direction": "Right"}
    assert Tei.read(body | {"return_text": True, "top_n": 5}).request() == RerankRequest(
        "q", ("x", "y"), top_n=5, return_documents=True
    )


def test_a_text_is_a_string() -> None:
    with pytest.raises(InvalidFieldError, match=r"texts\[1\]: "):
        Tei.read({"query": "q", "texts": ["x", {"text": "y"}]})


def test_a_failed_model_has_the_status_tei_gives_it() -> None:
    assert Tei.inference_failed is BackendError


def test_every_text_comes_back(client: TestClient) -> None:
    # LlamaIndex's client asserts that there are as many scores as texts.
    response = client.post("/tei/rerank", json={"query": "q", "texts": ["", "q", "q", " "]})
    assert sorted(item["index"] for item in response.json()) == [0, 1, 2, 3]
