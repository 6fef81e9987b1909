"""What a caller is told of a body that cannot be read: the real reason, and no byte of the body."""

import codecs
import gzip
from urllib.parse import quote, urlencode

import orjson
import pytest
from starlette.testclient import TestClient

from blockrank_server.service.dialects.registry import ROUTES

TEXT = '{"query": "secret é", "texts": ["a", "secret"]}'
BODY = TEXT.encode()
PATHS = [route.path for route in ROUTES] + ["/tokenize"]
MULTIPART = b'--x1\r\nContent-Disposition: form-data; name="query"\r\n\r\nsecret\r\n--x1--\r\n'

FAULTS = [
    (b"", "is empty"),
    (b" \r\n\t", "is empty"),
    (codecs.BOM_UTF8, "is empty"),
    (BODY[:-1], "unexpected end of data"),
    (BODY[:20], "unexpected end of data"),
    (BODY[:-1] + b",}", "trailing comma"),
    (BODY + b"\n" + BODY, "unexpected content after document: line 2"),
    (b'{"query": 1, "secret": NaN}', "NaN and Infinity are no JSON numbers: line 1 column 24"),
    (b'{"query": [Infinity]}', "NaN and Infinity"),
    (b'{"query": -Infinity}', "NaN and Infinity"),
    (b'{"query": "q", "truncate": True}', "true, false and null"),
    (b'{"query": "q", "top_n":None}', "true, false and null"),
    (TEXT.replace('"', "'").encode(), "double quotes, not single ones"),
    (b"'" + BODY + b"'", "double quotes, not single ones"),  # cmd.exe does not take quotes away
    (b'{query: "secret"}', "expected a string key: line 1 column 2"),
    (TEXT.encode("utf-16"), "UTF-16 or UTF-32"),
    (TEXT.encode("utf-16-le"), "UTF-16 or UTF-32"),
    (TEXT.encode("utf-16-be"), "UTF-16 or UTF-32"),
    (TEXT.encode("utf-32"), "UTF-16 or UTF-32"),
    (TEXT.encode("utf-32-be"), "UTF-16 or UTF-32"),
    (urlencode({"query": "secret", "texts": "a"}).encode(), "is a form"),
    (quote(TEXT).encode(), "percent-encoded"),
    (MULTIPART, "multipart/form-data"),
    (gzip.compress(BODY), "gzip, which no Content-Encoding says"),
    (b"secret", "expected a JSON value"),
    (b"<xml/>", "expected a JSON value"),
    (b"[" * 3000, "depth limit"),
    (orjson.dumps(TEXT), "not a JSON object but a JSON string"),
    (b"[" + BODY + b"]", "a JSON array"),
    (b"1.5", "a JSON number"),
    (b"7", "a JSON number"),
    (b"true", "a JSON boolean"),
    (b"null", "a JSON null"),
]


@pytest.mark.parametrize(("content", "reason"), FAULTS)
def test_the_real_reason_is_told(client: TestClient, content: bytes, reason: str) -> None:
    for path in ("/rerank", "/tokenize"):
        response = client.post(path, content=content)
        assert (response.status_code, response.json()["error_type"]) == (400, "Validation")
        assert reason in response.json()["error"]
        assert "secret" not in response.text


@pytest.mark.parametrize("path", PATHS)
def test_a_byte_order_mark_in_front_is_skipped(client: TestClient, path: str) -> None:
    plain = [route.dialects[0].example for route in ROUTES if route.path == path]
    body = orjson.dumps(plain[0] if plain else {"inputs": "a b"})
    marked = codecs.BOM_UTF8 + body
    packed = {"Content-Encoding": "gzip"}
    answers = [
        client.post(path, content=body),
        client.post(path, content=marked),
        client.post(path, content=gzip.compress(marked), headers=packed),
    ]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.headers.get("x-compute-tokens") for answer in answers}) == 1


def test_a_second_byte_order_mark_is_none(client: TestClient) -> None:
    response = client.post("/rerank", content=2 * codecs.BOM_UTF8 + BODY)
    assert response.status_code == 400


def test_of_two_keys_alike_the_last_counts(client: TestClient) -> None:
    twice = b'{"query": "a", "query": "b", "texts": ["a", "b"]}'
    assert client.post("/rerank", content=twice).json()[0]["index"] == 1
