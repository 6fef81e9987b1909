from typing import Any

import orjson
import pytest

from blockrank_server.service.errors import BackendError, InferenceError
from blockrank_server.service.rerank import Ranked, RerankRequest, RerankResult
from blockrank_server.service.shape_cohere import Cohere
from blockrank_server.service.shape_tei import Tei

A = {"query": "q", "documents": ["x", "y"]}
B = {"query": "q", "texts": ["x", "y"]}


def result(*ranking: Ranked, num_documents: int = 2, **fields: Any) -> RerankResult:
    request = RerankRequest("q", ("x", "y") * (num_documents // 2) + ("z",) * (num_documents % 2))
    return RerankResult(request, "an-id", ranking, "m", **fields)


RESULT = result(Ranked(1, "0.75"), Ranked(0, "1e-9"), num_tokens=9)


def test_shape_a_answers_in_the_order_elasticsearch_needs() -> None:
    body = Cohere.read(A).render(RESULT)
    text = orjson.dumps(body).decode()
    read = orjson.loads(text)
    keys = ["id", "results", "meta", "usage", "model", "object", "created"]
    assert list(read) == keys
    assert '"results":[{"index":1,"relevance_score":0.75},{"index":0,' in text
    assert read["id"] == "rerank-an-id"
    assert read["meta"] == {
        "api_version": {"version": "2"},
        "billed_units": {"search_units": 1},
        "tokens": {"input_tokens": 9, "output_tokens": 0},
    }
    assert read["usage"] == {"prompt_tokens": 9, "total_tokens": 9}
    assert (read["model"], read["object"]) == ("m", "rerank")
    assert isinstance(read["created"], int)


@pytest.mark.parametrize(("num_documents", "units"), [(1, 1), (100, 1), (101, 2), (1000, 10)])
def test_shape_a_bills_a_unit_for_each_hundred(num_documents: int, units: int) -> None:
    body = Cohere.read(A).render(result(num_documents=num_documents))
    assert isinstance(body, dict)
    assert body["meta"]["billed_units"] == {"search_units": units}


def test_texts_come_back_only_if_asked() -> None:
    asked = Cohere.read(A | {"return_documents": True}).render(result(Ranked(1, "0.5")))
    assert orjson.loads(orjson.dumps(asked))["results"] == [
        {"index": 1, "relevance_score": 0.5, "document": {"text": "y"}}
    ]
    asked = Tei.read(B | {"return_text": True}).render(result(Ranked(1, "0.5")))
    assert orjson.dumps(asked) == b'[{"index":1,"text":"y","score":0.5}]'


def test_shape_b_answers_a_bare_list() -> None:
    answer = orjson.dumps(Tei.read(B).render(result(Ranked(1, "0.75"), Ranked(0, "0.25"))))
    assert answer == b'[{"index":1,"score":0.75},{"index":0,"score":0.25}]'


def test_warnings_are_in_meta() -> None:
    body = Cohere.read(A).render(result(warnings=("one", "two")))
    assert isinstance(body, dict)
    assert body["meta"]["warnings"] == ["one", "two"]


def test_each_shape_has_its_own_word_for_a_failed_model() -> None:
    assert Cohere.inference_failed is InferenceError
    assert Tei.inference_failed is BackendError
