"""OpenSearch ml-commons, by the connector on the page."""

import json
import re
from typing import Any

import pytest

from client_page import ADDRESS, blocks
from contract import DOCUMENTS, ORDER, QUERY
from live_server import LiveServer
from replica import Answer, JavaDouble, read_java, send

SETTINGS, CONNECTOR = blocks(title="OpenSearch")
AWKWARD = 'say "a\\b"\tin\nFrance $1 ${x}'


def filled(template: str, values: dict[str, str]) -> str:
    return re.sub(r"\$\{([\w.]+)\}", lambda match: values[match[1]], template)


def escaped(text: str) -> str:
    """A text between the quotes of the template."""
    return json.dumps(text)[1:-1]


def ask(url: str, query: str, documents: list[str], **credential: str) -> Answer:
    connector = json.loads(CONNECTOR.at(url))
    [action] = connector["actions"]
    assert action["pre_process_function"] == "connector.pre_process.cohere.rerank"
    values = {f"parameters.{k}": escaped(v) for k, v in connector["parameters"].items()}
    values |= {f"credential.{k}": v for k, v in (connector["credential"] | credential).items()}
    values |= {
        "parameters.query": escaped(query),
        "parameters.documents": json.dumps(documents),
        "parameters.top_n": str(len(documents)),
    }
    headers = {name: filled(text, values) for name, text in action["headers"].items()}
    body = filled(action["request_body"], values)
    json.loads(body)  # ml-commons refuses a template that gives no JSON
    headers |= {"Content-Type": "application/json"}
    return send("POST", action["url"], headers, body.encode())


def scores(answer: Answer, num_documents: int) -> list[float]:
    """connector.post_process.cohere.rerank: an array as long as the results, filled by index."""
    results: list[dict[str, Any]] = read_java(answer.body)["results"]
    found: list[float | None] = [None] * len(results)
    for result in results:
        assert isinstance(result["index"], int)
        assert isinstance(result["relevance_score"], JavaDouble)
        found[result["index"]] = result["relevance_score"].value()
    assert len(found) == num_documents
    return [score for score in found if score is not None]


def test_the_settings_allow_the_connector() -> None:
    settings = json.loads(SETTINGS.text)["persistent"]
    [allowed] = settings["plugins.ml_commons.trusted_connector_endpoints_regex"]
    url = json.loads(CONNECTOR.text)["actions"][0]["url"]
    assert url.startswith(ADDRESS)
    assert re.fullmatch(allowed, url)
    assert settings["plugins.ml_commons.connector.private_ip_enabled"] is True


def test_scores_come_in_the_order_of_the_documents(server: LiveServer) -> None:
    found = scores(ask(server.url, QUERY, DOCUMENTS), len(DOCUMENTS))
    assert sorted(range(len(found)), key=lambda i: -found[i]) == ORDER


@pytest.mark.parametrize("num_documents", [1, 3, 7, 1000])
def test_every_score_is_a_double_to_its_parser(server: LiveServer, num_documents: int) -> None:
    documents = ["capital " * (i % 3) + "x" for i in range(num_documents)]
    assert len(scores(ask(server.url, QUERY, documents), num_documents)) == num_documents


def test_a_text_with_quotes_and_line_breaks_arrives(server: LiveServer) -> None:
    assert len(scores(ask(server.url, AWKWARD, [AWKWARD, ""]), 2)) == 2


def test_an_error_is_a_json_object_it_can_show(server: LiveServer) -> None:
    answer = ask(server.url, QUERY, DOCUMENTS, key="wrong")
    assert answer.status == 401
    assert "API key is not valid" in answer.body.decode()
