"""What a caller sends is found in no log line and in no error."""

import gzip
import json
import signal
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from tests.service.process.conftest import Process, StartServer

MARK = "xyzzymark"
KEY = f"{MARK}-key"
NESTED = {MARK: {MARK: [MARK, {MARK: None}]}}
HEADERS = {
    **{"User-Agent": MARK, "Referer": f"http://{MARK}/", "Cookie": f"{MARK}={MARK}", MARK: MARK},
    **{"Accept": MARK, "Content-Type": MARK, "X-Forwarded-For": MARK, "Origin": f"http://{MARK}"},
}
GOOD = {"query": MARK, "documents": [MARK, {"title": MARK, "text": MARK}], "model": MARK}
BODIES: tuple[Any, ...] = (
    *({"query": bad, "documents": [MARK]} for bad in ("", " ", 1, None, NESTED, [MARK])),
    *({"query": MARK, "documents": bad} for bad in (MARK, NESTED, [], [1], [None], [[MARK]])),
    *({"query": MARK, "texts": bad} for bad in (MARK, NESTED, [NESTED], [], [MARK] * 1001)),
    *(GOOD | {"rank_fields": bad} for bad in (MARK, [NESTED], [MARK * 10])),
    *(GOOD | {field: MARK} for field in ("top_n", "top_k", "truncate", "return_documents")),
    *(
        GOOD | {field: NESTED}
        for field in ("model", "raw_scores", "max_tokens_per_doc", "truncate")
    ),
    {"query": MARK, "documents": [{"text": NESTED}]},
    *(GOOD | {"cache_salt": salt} for salt in (MARK, MARK * 100, NESTED, [MARK])),
    {"query": MARK, "documents": [f"{MARK} " * 60], "truncate": False},
    {"query": MARK, "texts": [f"{MARK} " * 60], "truncate": False},
    *({MARK: MARK}, NESTED, [NESTED], MARK),
)
RAW_REQUESTS = (
    f"POST /{MARK} HTP/9\r\n\r\n",
    f"{MARK}\r\n\r\n",
    f"GET /health HTTP/1.1\r\n{MARK}\r\n\r\n",
    f"GET /health HTTP/1.1\r\nHost: x\r\nX-{MARK}: {MARK}\x00\r\n\r\n",
    f"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Length: {MARK}\r\n\r\n",
    f"GET /health HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: {MARK}\r\n\r\n",
)


@pytest.fixture(scope="module")
def server(start_server: "StartServer", tmp_path_factory: pytest.TempPathFactory) -> "Process":
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(KEY)
    return start_server(
        BLOCKRANK_API_KEYS_FILE=str(file),
        BLOCKRANK_LOG_LEVEL="debug",
        BLOCKRANK_STRICT_MODEL="1",
        BLOCKRANK_CORS_ORIGINS="http://localhost",
        BLOCKRANK_DOCUMENT_CACHE_SALT="api_key",
        BLOCKRANK_MAX_CONCURRENT_REQUESTS_PER_KEY="1",
    )


@pytest.fixture
def client(server: "Process") -> Iterator[httpx.Client]:
    with server.client() as client:
        client.headers.update(HEADERS)
        while client.get("/readyz").status_code != 200:
            pass
        yield client


def bad_requests(client: httpx.Client) -> Iterator[httpx.Response]:
    key = {"X-API-Key": KEY}
    for path in ("/rerank", f"/v1/rerank?{MARK}={MARK}"):
        for body in BODIES:
            yield client.post(path, json=body, headers=key)
    yield client.post("/rerank", json=GOOD, headers=key)  # strict: another model is served
    for given in ({}, {"Authorization": f"Bearer {MARK}"}, {"Api-Key": MARK}):
        yield client.post(f"/rerank?{MARK}", json=GOOD, headers=given)
    for raw in (MARK, f'{{"{MARK}', f'["{MARK}"]]', gzip.compress(MARK.encode())):
        yield client.post("/rerank", content=raw, headers=key)
    for encoding in (MARK, "gzip"):
        given = key | {"Content-Encoding": encoding}
        yield client.post("/rerank", content=MARK, headers=given)
    yield client.post("/rerank", json=GOOD, headers=key | {"X-Request-Timeout-Ms": MARK})
    for method in ("GET", "POST", "PUT", MARK.upper()):
        for path in (f"/{MARK}", f"/rerank/{MARK}", f"/static-offline-docs/{MARK}", f"/%0a{MARK}"):
            yield client.request(method, path, headers=key)
    yield client.put("/rerank", json=GOOD, headers=key)
    preflight = {"Access-Control-Request-Method": MARK, "Access-Control-Request-Headers": "x"}
    yield client.options("/rerank", headers=preflight)


def test_no_text_of_a_caller_in_logs_and_errors(client: httpx.Client, server: "Process") -> None:
    for response in bad_requests(client):
        assert response.status_code >= 400, response.request.content
        assert response.status_code not in (500, 424), response.request.content
        shown = response.text + str(response.headers)
        assert MARK not in shown.lower(), (response.request.url, response.request.content)
        assert len(response.content) < 4000
    good = GOOD | {"model": None, "return_documents": True, "cache_salt": MARK, MARK: MARK}
    response = client.post("/rerank", json=good, headers={"Authorization": KEY})
    assert response.status_code == 200
    assert response.text.count(MARK) == 3  # asked for
    for raw in RAW_REQUESTS:
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as raw_client:
            raw_client.sendall(raw.encode())
            raw_client.shutdown(socket.SHUT_WR)
            assert MARK.encode() not in raw_client.recv(2**16)
    assert MARK not in client.get("/metrics").text + client.get("/info").text
    server.process.send_signal(signal.SIGTERM)
    code, err = server.end()
    assert (code, err) == (0, "")
    events = [json.loads(line)["event"] for line in server.lines]
    assert events.count("request") > 2 * len(BODIES)
    assert "settings" in events
    assert [line for line in server.lines if MARK in line.lower()] == []
