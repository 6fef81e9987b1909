"""Open WebUI, Dify, LangChain4j and curl, by the blocks on the page."""

import json
import re
import subprocess
from typing import Any

import pytest

from client_page import Block, blocks
from contract import DOCUMENTS, ORDER, QUERY
from live_server import KEY, LiveServer
from replica import Answer, send

REQUESTS = {
    "User-Agent": "python-requests/2.32.4",
    "Accept-Encoding": "gzip, deflate",
    "Accept": "*/*",
    "Connection": "keep-alive",
    "Content-Type": "application/json",
}
DIFY_OPENAI, DIFY_TEI = blocks(title="Dify")


def form(block: Block, url: str, pattern: str = r"^(\w+)[=:] ?(\S+)$") -> dict[str, str]:
    """The settings a block shows."""
    return dict(re.findall(pattern, block.at(url), re.MULTILINE))


def post_as_requests(url: str, key: str, body: dict[str, Any]) -> Answer:
    headers = REQUESTS | {"Authorization": f"Bearer {key}"}
    return send("POST", url, headers, json.dumps(body).encode())


def test_open_webui_gets_a_score_for_every_document(server: LiveServer) -> None:
    [block] = blocks(title="Open WebUI")
    found = form(block, server.url)
    assert found["RAG_RERANKING_ENGINE"] == "external"
    answer = post_as_requests(
        found["RAG_EXTERNAL_RERANKER_URL"],
        found["RAG_EXTERNAL_RERANKER_API_KEY"],
        {
            "model": found["RAG_RERANKING_MODEL"],
            "query": QUERY,
            "documents": DOCUMENTS,
            "top_n": len(DOCUMENTS),
        },
    )
    results = sorted(json.loads(answer.body)["results"], key=lambda each: each["index"])
    scores = [each["relevance_score"] for each in results]
    assert sorted(range(len(scores)), key=lambda i: -scores[i]) == ORDER


@pytest.mark.parametrize("top_n", [1, 3, 4])
def test_dify_with_an_openai_compatible_server(server: LiveServer, top_n: int) -> None:
    """It checks the form with a request like this, whose answer may be empty past a threshold."""
    found = form(DIFY_OPENAI, server.url)
    body = {"model": found["model"], "query": QUERY, "documents": DOCUMENTS, "top_n": top_n}
    answer = post_as_requests(f"{found['endpoint_url']}/rerank", found["api_key"], body)
    assert answer.status == 200
    results = json.loads(answer.body)["results"]
    assert [each["index"] for each in results] == ORDER[:top_n]
    assert all(isinstance(each["relevance_score"], float) for each in results)


def test_dify_with_text_embeddings_inference(server: LiveServer) -> None:
    found = form(DIFY_TEI, server.url)
    key = {"Authorization": f"Bearer {found['api_key']}"}
    info = json.loads(send("GET", f"{found['server_url']}/info", key).body)
    assert next(iter(info["model_type"])) == "reranker"
    assert isinstance(info["max_input_length"], int)
    assert isinstance(info["max_client_batch_size"], int)
    body = {"query": QUERY, "texts": DOCUMENTS, "return_text": True}
    answer = post_as_requests(f"{found['server_url']}/rerank", found["api_key"], body)
    assert [each["text"] for each in json.loads(answer.body)] == [DOCUMENTS[i] for i in ORDER]
    tokens = post_as_requests(
        f"{found['server_url']}/tokenize", found["api_key"], {"inputs": DOCUMENTS[:2]}
    )
    assert [len(each) for each in json.loads(tokens.body)] == [6, 6]


def langchain4j(url: str, key: str | None = None) -> Answer:
    """Gson writes over several lines."""
    [block] = blocks(title="LangChain4j")
    found = form(block, url, r"\.(\w+)\(\"(.+?)\"\)")
    assert found["baseUrl"].endswith("/")
    body = {"model": found["modelName"], "query": QUERY, "documents": DOCUMENTS}
    headers = {
        "Authorization": f"Bearer {key or found['apiKey']}",
        "Content-Type": "application/json; charset=UTF-8",
        "Accept-Encoding": "gzip",
        "User-Agent": "okhttp/4.12.0",
    }
    return send("POST", f"{found['baseUrl']}rerank", headers, json.dumps(body, indent=2).encode())


def test_langchain4j_finds_scores_and_billed_units(server: LiveServer) -> None:
    found = json.loads(langchain4j(server.url).body)
    assert [each["index"] for each in found["results"]] == ORDER
    assert all(isinstance(each["relevance_score"], float) for each in found["results"])
    assert isinstance(found["meta"]["billed_units"]["search_units"], int)


def test_langchain4j_shows_the_body_of_an_error(server: LiveServer) -> None:
    answer = langchain4j(server.url, "wrong")
    assert answer.status == 401
    assert b"API key is not valid" in answer.body


def test_the_curl_is_answered_with_a_ranking(server: LiveServer) -> None:
    [block] = blocks(title="curl")
    assert KEY in block.text
    done = subprocess.run(
        ["bash", "-c", block.at(server.url)], capture_output=True, text=True, check=True
    )
    assert [each["index"] for each in json.loads(done.stdout)["results"]] == [1, 0]
