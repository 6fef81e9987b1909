"""Weaviate's reranker-transformers, by the variables on the page."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from client_page import blocks
from contract import DOCUMENTS, ORDER, QUERY, TOO_LONG
from live_server import LiveServer
from replica import Answer, send

[COMPOSE] = blocks(title="Weaviate")
GO = {"User-Agent": "Go-http-client/1.1", "Accept-Encoding": "gzip"}
CHUNK = 32


def origin(url: str) -> str:
    found = re.search(r"RERANKER_INFERENCE_API: (\S+)", COMPOSE.at(url))
    assert found
    return found[1]


def go_json(value: object) -> bytes:
    """As encoding/json: compact, and <, >, & as escapes."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text.encode()


def ask(url: str, query: str, documents: list[str]) -> Answer:
    """No Content-Type, no key, always a property."""
    body = go_json({"query": query, "documents": documents, "property": ""})
    return send("POST", f"{origin(url)}/rerank", GO, body)


def scores(answer: Answer, documents: list[str]) -> list[float]:
    """By place, exactly one for each document, into Go's types."""
    assert answer.status == 200
    found: dict[str, Any] = json.loads(answer.body)
    assert found.get("error") is None
    assert isinstance(found["query"], str)
    assert all(found[key] is None or isinstance(found[key], str) for key in ("property",))
    assert all(found[key] is None or isinstance(found[key], float) for key in ("score",))
    assert [item["document"] for item in found["scores"]] == documents
    return [float(item["score"]) for item in found["scores"]]


def test_it_starts_once_the_server_is_ready(open_server: LiveServer) -> None:
    base = origin(open_server.url)
    assert send("GET", f"{base}/.well-known/ready", GO).status <= 299
    meta = send("GET", f"{base}/meta", GO)
    assert meta.status == 200
    assert isinstance(json.loads(meta.body), dict)


def test_scores_come_in_the_order_of_the_documents(open_server: LiveServer) -> None:
    found = scores(ask(open_server.url, QUERY, DOCUMENTS), DOCUMENTS)
    assert sorted(range(len(found)), key=lambda i: -found[i]) == ORDER


def test_markup_arrives_as_it_was(open_server: LiveServer) -> None:
    documents = ["<b>capital & France</b>", "'\"\\"]
    assert len(scores(ask(open_server.url, "<capital>", documents), documents)) == 2


def test_chunks_at_the_same_time_are_all_answered(open_server: LiveServer) -> None:
    documents = [f"{i} {DOCUMENTS[i % 4]}" for i in range(100)]
    chunks = [documents[i : i + CHUNK] for i in range(0, len(documents), CHUNK)]
    with ThreadPoolExecutor(len(chunks)) as pool:
        answers = list(pool.map(lambda chunk: ask(open_server.url, QUERY, chunk), chunks))
    found = [scores(a, chunk) for a, chunk in zip(answers, chunks, strict=True)]
    assert [len(row) for row in found] == [32, 32, 32, 4]


def test_what_is_too_long_is_cut_and_does_not_fail(open_server: LiveServer) -> None:
    assert len(scores(ask(open_server.url, QUERY, [TOO_LONG]), [TOO_LONG])) == 1


def test_an_error_is_a_text(open_server: LiveServer) -> None:
    answer = ask(open_server.url, "", DOCUMENTS)
    assert answer.status == 400
    assert json.loads(answer.body)["error"] == "query is empty"
