import orjson
import pytest

from blockrank_server.service.errors import BackendError, InferenceError
from blockrank_server.service.rerank import Ranked, RerankResult
from blockrank_server.service.shapes import SHAPES

TEI, COHERE = SHAPES
RESULT = RerankResult(
    ranking=(Ranked(1, "0.75"), Ranked(0, "1e-9")),
    model="m",
    num_documents=2,
    num_tokens=9,
)


def test_shape_a_answers_in_the_order_elasticsearch_needs() -> None:
    body = COHERE.render(RESULT)
    text = orjson.dumps(body).decode()
    read = orjson.loads(text)
    keys = ["id", "results", "meta", "usage", "model", "object", "created"]
    assert list(read) == keys
    assert '"results":[{"index":1,"relevance_score":0.75},{"index":0,' in text
    assert read["id"].startswith("rerank-")
    assert len(read["id"]) == len("rerank-") + 32
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
    body = COHERE.render(RerankResult((), "m", num_documents))
    assert isinstance(body, dict)
    assert body["meta"]["billed_units"] == {"search_units": units}


def test_texts_come_back_only_if_asked() -> None:
    asked = RerankResult((Ranked(1, "0.5"),), "m", 2, texts=("x", "y"))
    assert orjson.loads(orjson.dumps(COHERE.render(asked)))["results"] == [
        {"index": 1, "relevance_score": 0.5, "document": {"text": "y"}}
    ]
    assert orjson.dumps(TEI.render(asked)) == b'[{"index":1,"text":"y","score":0.5}]'


def test_shape_b_answers_a_bare_list() -> None:
    ranking = (Ranked(1, "0.75"), Ranked(0, "0.25"))
    answer = orjson.dumps(TEI.render(RerankResult(ranking, "m", 2)))
    assert answer == b'[{"index":1,"score":0.75},{"index":0,"score":0.25}]'


def test_what_was_cut_is_told() -> None:
    result = RerankResult((), "m", 40, truncated_documents=tuple(range(30)), query_truncated=True)
    listed = ", ".join(map(str, range(20)))
    body = COHERE.render(result)
    assert isinstance(body, dict)
    assert body["meta"]["warnings"] == [
        "query was truncated",
        f"30 of 40 documents truncated: {listed}, ...",
    ]
    assert COHERE.headers(result) == {}
    assert TEI.headers(result) == {
        "X-Rerank-Warning": f"query was truncated; 30 of 40 texts truncated: {listed}, ..."
    }
    assert TEI.headers(RESULT) == {}


def test_each_shape_has_its_own_word_for_a_failed_model() -> None:
    assert COHERE.inference_failed is InferenceError
    assert TEI.inference_failed is BackendError
