import re
from typing import Any

import orjson
import pytest
from fastapi import FastAPI
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from blockrank_server.service.api.response_headers import DESCRIPTIONS
from blockrank_server.service.dialects.registry import DIALECTS, ROUTES
from blockrank_server.service.errors import all_errors

PATHS = [path for route in ROUTES for path in (route.path, *route.aliases)]


@pytest.fixture
def document(client: TestClient) -> Any:
    return orjson.loads(client.get("/openapi.json").content)


def referred(value: object) -> set[str]:
    """Every $ref in a document."""
    if isinstance(value, list):
        return set().union(*map(referred, value))
    if not isinstance(value, dict):
        return set()
    own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
    return own.union(*map(referred, value.values()))


def test_the_docs_need_no_network(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert "//" not in re.sub(r"<!--.*?-->", "", page.text.replace("// ", ""))
    scripts = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(scripts) >= 2
    for path in scripts:
        assert client.get(path).status_code == 200


@pytest.mark.parametrize("value", ["bytes=0-3", "bytes=9999999999-", "secret", "bytes=3-1"])
def test_a_part_of_a_file_is_all_of_it(client: TestClient, value: str) -> None:
    path = "/static-offline-docs/favicon.png"
    part = client.get(path, headers={"Range": value})
    assert (part.status_code, part.content) == (200, client.get(path).content)


@pytest.mark.parametrize("root_path", ["", "/pre", "/pre/"])
@pytest.mark.parametrize("asked", ["/docs", "/pre/docs", "/pre//docs"])
def test_the_docs_are_found_whoever_says_the_prefix(
    client: TestClient, root_path: str, asked: str
) -> None:
    """A server, a mount or nobody: here another application has this one under a prefix."""
    app = FastAPI()
    app.mount("/pre", client.app)
    outer = TestClient(client.app if root_path else app, root_path=root_path)
    if root_path or asked != "/docs":
        assert outer.get(asked).status_code == 200
        assert outer.get("/pre/static-offline-docs/favicon.png").status_code == 200
        assert outer.head("/pre/").status_code == 200
        assert outer.post("/pre/v1/v1/rerank").json()["error"].endswith("mean /pre/v1/rerank?")


def test_every_reference_leads_somewhere(document: Any) -> None:
    found = referred(document)
    assert len(found) > 2 * len(DIALECTS)
    for reference in found:
        target = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        assert target


def test_every_path_is_documented_once(document: Any) -> None:
    described = {path.replace(":path", "") for path in PATHS}
    assert described | {"/tokenize", "/health", "/info", "/metrics"} <= set(document["paths"])
    ids = [op["operationId"] for ops in document["paths"].values() for op in ops.values()]
    assert len(ids) == len(set(ids))


def test_every_example_gets_the_answer_shown(client: TestClient, document: Any) -> None:
    examples = document["components"]["examples"]
    for dialect in DIALECTS:
        path = next(r.path for r in ROUTES if r.dialects == (dialect,))
        answer = client.post(path, json=examples[f"{dialect.name}-body"]["value"]).json()
        shown = examples[f"{dialect.name}-answer"]["value"]
        assert form(answer) == form(shown), dialect.name
    for name in ("tei-tokenize", "vllm-tokenize"):
        assert client.post("/tokenize", json=examples[name]["value"]).status_code == 200


def form(value: object) -> object:
    """A JSON value with the type in place of each text and number."""
    if isinstance(value, list):
        return [form(part) for part in value]
    if isinstance(value, dict):
        return [(key, form(part)) for key, part in value.items()]
    return type(value)


def test_every_answer_has_the_keys_documented(client: TestClient) -> None:
    for route in ROUTES[1:]:
        [dialect] = route.dialects
        answer = client.post(route.path, json=dialect.example).json()
        assert wrong_keys(answer, TypeAdapter(dialect.answer).json_schema(), {}) == [], dialect.name


def wrong_keys(value: Any, schema: dict[str, Any], named: dict[str, Any]) -> list[str]:
    """Keys that are missing, and keys that the schema does not have."""
    named = schema.get("$defs", named)
    schema = named[schema["$ref"].split("/")[-1]] if "$ref" in schema else schema
    if isinstance(value, list):
        return [key for part in value for key in wrong_keys(part, schema["items"], named)]
    if not isinstance(value, dict) or "properties" not in schema:  # or whatever the caller sent
        return []
    known = schema["properties"]
    inside = [wrong_keys(part, known[key], named) for key, part in value.items() if key in known]
    missing, unknown = set(schema["required"]) - set(value), set(value) - set(known)
    return [*missing, *unknown, *(key for keys in inside for key in keys)]


def test_every_error_is_documented(document: Any) -> None:
    for path in [*(path.replace(":path", "") for path in PATHS), "/tokenize"]:
        responses = document["paths"][path]["post"]["responses"]
        assert {str(kind.status) for kind in all_errors()} | {"200"} == set(responses)
        for kind in all_errors():
            reason = (kind.__doc__ or "").split("\n")[0]
            assert reason in responses[str(kind.status)]["description"]
            assert (
                f"| {kind.status} | {kind.error_type} | {reason} |"
                in (document["info"]["description"])
            )


def test_every_error_has_an_example(document: Any) -> None:
    responses = document["paths"]["/rerank"]["post"]["responses"]
    for kind in all_errors():
        shown = responses[str(kind.status)]["content"]["application/json"]["examples"]
        assert kind.__name__ in shown
        example = document["components"]["examples"][kind.__name__]["value"]
        assert (example["code"], example["error_type"]) == (kind.status, kind.error_type)
        assert example["error"] == (kind.__doc__ or "").split("\n")[0]
    assert list(responses["429"]["headers"]) == ["Retry-After"]


def test_the_documented_error_is_the_one_given(client: TestClient, document: Any) -> None:
    error = client.post("/rerank", content=b"{}").json()
    assert list(error) == list(document["components"]["schemas"]["ErrorBody"]["properties"])


def test_every_header_is_documented(document: Any) -> None:
    found = document["paths"]["/rerank"]["post"]["responses"]["200"]["headers"]
    assert set(found) == set(DESCRIPTIONS)


def test_the_table_on_top_names_every_dialect_and_its_path(document: Any) -> None:
    for dialect in DIALECTS:
        path = next(r.path for r in ROUTES if r.dialects == (dialect,))
        row = f"| {dialect.name} | {dialect.peers} | {dialect.mark} | `{path}` |"
        assert row in document["info"]["description"]


def test_a_parameter_of_the_path_is_declared(client: TestClient) -> None:
    assert isinstance(client.app, FastAPI)
    operation = client.app.openapi()["paths"]["/v1/retrieval/{rest}/reranking"]["post"]
    assert [(p["name"], p["in"]) for p in operation["parameters"]] == [("rest", "path")]
