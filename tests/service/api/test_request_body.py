"""How a body is read: limits as sent and inflated, encodings, broken gzip."""

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.testclient import TestClient

from blockrank_server.service.api.request_body import read_body
from blockrank_server.service.errors import BadGzipError, BodyTooLargeError

if TYPE_CHECKING:
    from tests.service.conftest import MakeClient

BODY = {"query": "q", "texts": ["a", "q"]}
GZIP = {"Content-Encoding": "gzip"}
RAW = orjson.dumps(BODY)


def read(chunks: Iterable[bytes], limit: int, encoding: str = "gzip") -> bytes:
    left = iter(chunks)

    async def receive() -> dict[str, Any]:
        chunk = next(left, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    scope = {"type": "http", "headers": [(b"content-encoding", encoding.encode())]}
    return asyncio.run(read_body(Request(scope, receive), limit))


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip", " gzip "])
def test_a_gzipped_body_is_inflated(client: TestClient, encoding: str) -> None:
    response = client.post(
        "/rerank", content=gzip.compress(RAW), headers={"Content-Encoding": encoding}
    )
    assert [item["index"] for item in response.json()] == [1, 0]


@pytest.mark.parametrize("encoding", ["", "identity", "Identity"])
def test_a_plain_body_may_say_so(client: TestClient, encoding: str) -> None:
    response = client.post("/rerank", content=RAW, headers={"Content-Encoding": encoding})
    assert response.status_code == 200


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "gzip,br", "secret"])
def test_another_encoding_is_415(client: TestClient, encoding: str) -> None:
    response = client.post("/rerank", content=RAW, headers={"Content-Encoding": encoding})
    assert (response.status_code, response.json()["code"]) == (415, 415)
    assert response.headers["accept-encoding"] == "gzip"
    assert "secret" not in response.text


def test_a_header_sent_twice_is_two_encodings(client: TestClient) -> None:
    twice = [("Content-Encoding", "gzip"), ("Content-Encoding", "br")]
    assert client.post("/rerank", content=gzip.compress(RAW), headers=twice).status_code == 415


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "ends before"),
        (gzip.compress(RAW)[:-1], "ends before"),
        (gzip.compress(RAW)[:15], "ends before"),
        (gzip.compress(RAW) + b"x", "goes on after"),
        (gzip.compress(RAW) + gzip.compress(RAW), "goes on after"),
        (RAW, "is not gzip"),
        (zlib.compress(RAW), "is not gzip"),
        (gzip.compress(RAW)[:-5] + b"xxxxx", "is not gzip"),
    ],
)
def test_broken_gzip_is_400(client: TestClient, content: bytes, reason: str) -> None:
    response = client.post("/rerank", content=content, headers=GZIP)
    assert (response.status_code, response.json()["error_type"]) == (400, "Validation")
    assert reason in response.json()["error"]


def test_the_limit_holds_on_the_wire_and_inflated(make_client: "MakeClient") -> None:
    packed = gzip.compress(RAW)
    assert len(packed) > len(RAW) - 1 > 1
    with make_client(max_body_bytes=len(packed)) as client:
        assert client.post("/rerank", content=packed, headers=GZIP).status_code == 200
        longer = gzip.compress(RAW + b" " * 1000)
        assert len(longer) <= len(packed) + 10
        for body in (longer, gzip.compress(RAW, 0) + b" " * 50):
            for content in (body, iter([body])):
                response = client.post("/rerank", content=content, headers=GZIP)
                assert response.status_code == 413
                assert response.json()["error_type"] == "Validation"


def test_a_body_of_exactly_the_limit_is_read() -> None:
    for size in (0, 1, 2**18 - 1, 2**18, 2**18 + 1, 10**6):
        data = b"a" * size
        packed = gzip.compress(data)
        limit = max(size, len(packed))
        assert read(cut(packed, 1000), limit) == data
        if size > len(packed):
            with pytest.raises(BodyTooLargeError):
                read(cut(packed, 1000), size - 1)


@given(data=st.binary(max_size=3000), times=st.integers(1, 300), size=st.integers(1, 5000))
def test_the_chunks_make_no_difference(data: bytes, times: int, size: int) -> None:
    packed = gzip.compress(data * times)
    assert read(cut(packed, size), 10**6) == data * times
    with pytest.raises(BadGzipError):
        read(cut(packed[:-1], size), 10**6)


@pytest.mark.parametrize("is_whole", [True, False], ids=["one chunk", "many chunks"])
def test_a_bomb_is_refused_early_and_in_little_memory(is_whole: bool) -> None:
    """1 GiB of zeros in 1 MB: a segment of 1 MiB that stands alone, 1,024 times."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    segment = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    segments = [head, *[segment] * 1024]
    left = iter([b"".join(segments)] if is_whole else segments)
    assert len(segment) * 1024 < 2_000_000  # so it may be sent
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLargeError, match="2000000 bytes"):
            read(left, 2_000_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000
    assert len(list(left)) == (0 if is_whole else 1022)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "*", ""])
def test_json_is_json_whatever_its_type_says(client: TestClient, kind: str) -> None:
    response = client.post("/rerank", content=RAW, headers={"Content-Type": kind})
    assert response.status_code == 200
