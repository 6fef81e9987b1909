from collections.abc import Callable
from typing import Any

import orjson
import pytest
from starlette.testclient import TestClient

from blockrank_server.service.dialects.rank_llm import RankLlm
from blockrank_server.service.errors import InvalidFieldError

BODY: dict[str, Any] = {
    "query": {"text": "q", "qid": 7},
    "candidates": ["x", {"docid": "d2", "text": "y", "score": 3.5}],
    "overrides": {},
}


def test_the_answer_byte_by_byte(answer_bytes: Callable[..., bytes]) -> None:
    assert answer_bytes(RankLlm, BODY, "0.25", "0.75", warnings=("one",)) == (
        b'{"schema_version":"castorini.cli.v1","repo":"rank_llm","command":"rerank",'
        b'"mode":"execute","status":"success","exit_code":0,'
        b'"inputs":{"mode":"direct","transport":"http"},'
        b'"resolved":{"model_path":"m","input_mode":"direct","transport":"http"},'
        b'"artifacts":[{"name":"rerank-results","kind":"data","value":[{'
        b'"query":{"text":"q","qid":7},'
        b'"candidates":[{"docid":"d2","score":0.75,"doc":{"contents":"y"}},'
        b'{"docid":"1","score":0.25,"doc":{"contents":"x"}}],"invocations_history":[]}]}],'
        b'"validation":{"valid":true,"record_count":1,"errors":[]},'
        b'"metrics":{},"warnings":["one"],"errors":[]}'
    )


@pytest.mark.parametrize("key", ["text", "segment", "contents", "content", "body", "passage"])
def test_a_document_may_be_an_object(answer_bytes: Callable[..., bytes], key: str) -> None:
    doc = {key: "y", "title": "t", "url": "u"}
    body = {"query": "q", "candidates": [{"docid": 0, "doc": doc}]}
    assert RankLlm.read(body).request().documents == ({"title": "t", "text": "y"},)
    answer = orjson.loads(answer_bytes(RankLlm, body, "1.0"))
    [found] = answer["artifacts"][0]["value"]
    assert found["query"] == {"text": "q", "qid": ""}
    assert found["candidates"] == [{"docid": 0, "score": 1.0, "doc": doc}]


def test_what_else_was_sent_comes_back(answer_bytes: Callable[..., bytes]) -> None:
    body = {
        "query": {"text": "q", "qid": 1, "lang": "en"},
        "candidates": [
            {"docid": "a", "text": "x", "title": "t", "score": 2, "meta": {"n": 1}},
            {"docid": "b", "text": "y", "doc": {"url": "u", "title": "s"}},
        ],
    }
    answer = orjson.loads(answer_bytes(RankLlm, body, "0.75", "0.25"))
    [found] = answer["artifacts"][0]["value"]
    assert found["query"] == {"text": "q", "qid": 1, "lang": "en"}
    docs = [candidate["doc"] for candidate in found["candidates"]]
    assert docs == [
        {"contents": "x", "title": "t", "meta": {"n": 1}},
        {"contents": "y", "url": "u", "title": "s"},
    ]
    [warning] = RankLlm.read(body).request().warnings
    assert warning == "doc is ignored where a candidate has a text: text is ranked"


@pytest.mark.parametrize("place", ["query", "candidate"])
def test_what_comes_back_is_not_too_deep_to_be_written(place: str) -> None:
    deep: object = 0
    for _ in range(70):
        deep = [deep]
    given = {"query": {"text": "q"}, "candidate": {"text": "x"}}
    given[place]["more"] = deep  # type: ignore[assignment]
    body = {"query": given["query"], "candidates": [given["candidate"]]}
    with pytest.raises(InvalidFieldError, match="nested deeper than 64 levels"):
        RankLlm.read(body).request()


def test_an_object_without_a_known_text_is_ranked_as_a_whole() -> None:
    body = {"query": "q", "candidates": [{"doc": {"a": "b"}}]}
    assert RankLlm.read(body).request().documents == ("a: b",)


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        ({"docid": "d"}, r"candidates\[1\] has neither text nor doc"),
        ({"doc": {"contents": 3}}, r"candidates\[1\]\.doc\.text is not a string"),
        (3, r"candidates\[1\]: "),
    ],
)
def test_a_bad_candidate_is_named(candidate: object, message: str) -> None:
    with pytest.raises(InvalidFieldError, match=message):
        RankLlm.read({"query": "q", "candidates": ["x", candidate]}).request()


def test_overrides_are_tolerated(client: TestClient) -> None:
    for path in ("/v1/rerank", "/rank_llm/v1/rerank"):
        body = BODY | {"overrides": {"window_size": 5}}
        assert client.post(path, json=body).json()["status"] == "success"
