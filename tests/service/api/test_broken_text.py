"""Text that is not Unicode in a body: replaced, told, and no reason to refuse the rest."""

import codecs
import json
import re
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from blockrank_server.service.api.broken_text import JsonBody, Place
from blockrank_server.service.api.request_body import read_json
from blockrank_server.service.dialects.base import Dialect
from blockrank_server.service.dialects.registry import DIALECTS
from blockrank_server.service.errors import BadJsonError

LONE = "\ud83d"  # the first half of an emoji
WARNING = "x-rerank-warning"
TOLD = "text that is not Unicode was replaced by U+FFFD in "


def escaped(body: Any) -> bytes:
    return json.dumps(body).encode()


def as_bytes(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")


def as_latin_1(body: Any) -> bytes:
    """Halves of pairs as a byte that is no UTF-8."""
    return as_bytes(body).replace(LONE.encode("utf-8", "surrogatepass"), b"\xe9")


WRITTEN = pytest.mark.parametrize("write", [escaped, as_bytes, as_latin_1])


@WRITTEN
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_one_document_in_a_hundred_is_mended_and_named(
    client: TestClient, dialect: type[Dialect], write: Any
) -> None:
    query, documents = dialect.query_fields[0], dialect.documents_fields[0]
    given = [f"a text {i}" for i in range(100)]
    given[31] += LONE
    response = client.post(dialect.path, content=write({query: "a text", documents: given}))
    assert response.status_code == 200
    assert response.headers[WARNING] == f"{TOLD}{documents}[31]"
    orjson.loads(response.content)
    given[31] = given[31].replace(LONE, "\ufffd")
    mended = client.post(dialect.path, json={query: "a text", documents: given})
    assert WARNING not in mended.headers  # it was sent so
    scores = re.compile(rb'"(?:relevance_score|score|logit)":[0-9.]+')
    assert scores.findall(mended.content) == scores.findall(response.content)


@WRITTEN
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_query_is_mended_and_named(
    client: TestClient, dialect: type[Dialect], write: Any
) -> None:
    query, documents = dialect.query_fields[0], dialect.documents_fields[0]
    response = client.post(dialect.path, content=write({query: LONE, documents: ["x"]}))
    assert response.status_code == 200
    assert response.headers[WARNING] == f"{TOLD}{query}"


@WRITTEN
def test_meta_tells_it_too_and_objects_come_back_mended(client: TestClient, write: Any) -> None:
    documents = [
        {"text": "a", "title": f"{LONE}t"},
        {"deep": {f"k{LONE}": [1, {"x": LONE}]}},
        {"text": "a", "title": "\ufffd"},
    ]
    body = {"query": "a", "documents": documents, "return_documents": True}
    response = client.post("/rerank", content=write(body))
    answer = orjson.loads(response.content)
    assert answer["meta"]["warnings"] == [f"{TOLD}documents[0], documents[1]"]
    found = {item["index"]: item["document"] for item in answer["results"]}
    assert found[0] == {"text": "a", "title": "\ufffdt"}
    assert found[1]["deep"] == {"k\ufffd": [1, {"x": "\ufffd"}]}
    assert found[1]["text"] == "deep:\n  k\ufffd:\n  - 1\n  - x: \ufffd"
    assert found[2] == documents[2]


@pytest.mark.parametrize(
    ("change", "places"),
    [
        ({"instruction": LONE}, "instruction"),
        ({"model": LONE}, "model"),
        ({"rank_fields": ["a", LONE]}, "rank_fields[1]"),
        ({"documents": [LONE] * 30}, ", ".join(f"documents[{i}]" for i in range(20)) + ", ..."),
        ({"anything": LONE}, "fields that are ignored"),
        ({LONE: 1}, "fields that are ignored"),
        ({f"x\r\nSet-Cookie: a{LONE}": 1}, "fields that are ignored"),
        ({"query": LONE, "user": [LONE, LONE]}, "query, fields that are ignored"),
    ],
)
def test_every_field_is_mended(client: TestClient, change: dict[str, Any], places: str) -> None:
    body = {"query": "a", "documents": [{"a": "b"}, {"text": "x", "a": "c"}]} | change
    response = client.post("/rerank", content=escaped(body))
    assert response.status_code == 200
    assert f"{TOLD}{places}" in response.headers[WARNING].split("; ")


@WRITTEN
@pytest.mark.parametrize(
    ("body", "place"), [({"inputs": ["a", LONE]}, "inputs[1]"), ({"prompt": LONE}, "prompt")]
)
def test_tokenize_counts_it_as_one_character(
    client: TestClient, write: Any, body: dict[str, Any], place: str
) -> None:
    response = client.post("/tokenize", content=write(body))
    assert response.status_code == 200
    assert response.headers[WARNING] == f"{TOLD}{place}"
    orjson.loads(response.content)
    assert WARNING not in client.post("/tokenize", json={"prompt": "\ufffd"}).headers


def test_tokenize_tells_which_of_two_forms_is_ignored(client: TestClient) -> None:
    both = client.post("/tokenize", json={"inputs": "a", "prompt": "b"})
    assert both.headers[WARNING] == "prompt is ignored: inputs is read"
    assert client.post("/tokenize", json={"inputs": None, "prompt": "b"}).json()["count"] == 1
    assert isinstance(client.post("/tokenize", json={"inputs": "a", "prompt": None}).json(), list)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (rb"\\ud83d", "\\ud83d"),
        (rb"\\\ud83d", "\\\ufffd"),
        (rb"\ud83d\ude00", "\U0001f600"),
        (rb"\uD83D\uDE00\uDE00", "\U0001f600\ufffd"),
        (rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (rb"\ude00\ud83d", "\ufffd\ufffd"),
        (rb"\ud83d\n", "\ufffd\n"),
        (rb"\ud83d\u0041", "\ufffdA"),
        (b"\xed\xa0\xbd", "\ufffd"),
        (b"\xed\xa0\xbd\xed\xb8\x80", "\ufffd\ufffd"),
        (b"\xed\xa0\xbd\\ude00", "\ufffd\ufffd"),
        (b"\xff", "\ufffd"),
        (b"caf\xe9", "caf\ufffd"),
        (b"\xe2\x82", "\ufffd"),  # a cut euro sign
        (b"\xc0\xaf", "\ufffd\ufffd"),
        (b"\xf4\x90\x80\x80", "\ufffd" * 4),
        (b"\xef\xbf\xbd\\ufffd\\uFFFD\xff", "\ufffd" * 4),
    ],
)
def test_what_a_text_becomes(raw: bytes, text: str) -> None:
    body = read_json(b'{"sent":"\xef\xbf\xbd","query":"' + raw + b'","broken":"\xff"}')
    is_broken = raw not in (rb"\\ud83d", rb"\ud83d\ude00")
    assert body.fields == {"sent": "\ufffd", "query": text, "broken": "\ufffd"}
    assert body.broken == [Place("query")] * is_broken + [Place("broken")]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(st.characters(), max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
BODIES = st.dictionaries(st.text(max_size=4), JSON)
HALVES = st.text(st.sampled_from('\ud83d\ude00\ufffd\\/"ua'), max_size=8)


def num_keys(value: object) -> int:
    if isinstance(value, list):
        return sum(map(num_keys, value))
    return len(value) + num_keys([*value.values()]) if isinstance(value, dict) else 0


@given(st.dictionaries(HALVES, st.lists(HALVES | st.dictionaries(HALVES, HALVES))) | BODIES)
def test_any_body_is_read_as_json_of_mended_text(body: dict[str, Any]) -> None:
    text = json.dumps(json.loads(json.dumps(body)), ensure_ascii=False)  # halves that meet join
    mended = json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    assume(num_keys(mended) == num_keys(body))  # else two keys have become one
    found = read_json(escaped(body))
    assert found.fields == mended
    assert bool(found.broken) is (re.search("[\ud800-\udfff]", text) is not None)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"query":"\\ud800","texts":["a"]', "line 1 column 32"),
        (b'{"query":"\xff" "texts":["a"]}', "line 1 column"),
        (b'{"query":"\xef\xbf\xbd\xff', "unexpected end of data"),
        (b"\xff", "line 1 column 1"),
        (b'["\\ud800"]', "body is not a JSON object"),
        (b'"\\ud800"', "body is not a JSON object"),
        (b'{"query":"\\ud8', "body is not JSON"),
        (b'{"a":NaN,"b":"\\ud800"}', "body is not JSON"),
        (b'{"a":"\\ud800"' + b',"b":' + b"[" * 2000, "depth limit exceeded"),
        ('{"query":"q"}'.encode("utf-16"), "body is UTF-16 or UTF-32: send JSON in UTF-8"),
        ('{"query":"q"}'.encode("utf-16-le"), "body is UTF-16 or UTF-32: send JSON in UTF-8"),
        ('{"query":"q"}'.encode("utf-32-be"), "body is UTF-16 or UTF-32: send JSON in UTF-8"),
    ],
)
def test_a_body_with_another_fault_is_refused_for_that(
    client: TestClient, content: bytes, reason: str
) -> None:
    response = client.post("/rerank", content=content)
    assert response.status_code == 400
    assert reason in response.json()["message"]
    with pytest.raises(BadJsonError):
        read_json(content)


def test_a_byte_order_mark_is_skipped(client: TestClient) -> None:
    raw = codecs.BOM_UTF8 + b'{"query":"q","texts":["a","q"]}'
    response = client.post("/rerank", content=raw)
    assert [item["index"] for item in response.json()] == [1, 0]
    assert WARNING not in response.headers
    twice = client.post("/rerank", content=codecs.BOM_UTF8 + raw)
    assert (twice.status_code, client.post("/rerank", content=b"\xef\xbb").status_code) == (
        400,
        400,
    )


def test_a_body_deeper_than_the_interpreter_is_mended() -> None:
    raw = b'{"a":"\\ud800","b":' + b"[" * 900 + b'"\xff"' + b"]" * 900 + b"}"
    body = read_json(raw)
    assert body.broken == [Place("a"), Place("b", 0)]


def test_a_good_body_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "blockrank_server.service.api.request_body.parse_broken"
    monkeypatch.setattr(name, lambda raw: pytest.fail("parsed again"))
    raw = '{"a":"\ufffd \U0001f600 \\ud83d\\ude00 \\ufffd"}'.encode()
    assert read_json(raw) == JsonBody({"a": "\ufffd \U0001f600 \U0001f600 \ufffd"})


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100
)
@given(
    body=st.fixed_dictionaries({"query": HALVES, "documents": st.lists(HALVES | JSON, min_size=1)})
)
def test_no_broken_text_makes_the_server_fail(client: TestClient, body: dict[str, Any]) -> None:
    for write in (escaped, as_bytes):
        response = client.post("/rerank", content=write(body | {"return_documents": True}))
        assert response.status_code in (200, 400, 422)
        orjson.loads(response.content)
