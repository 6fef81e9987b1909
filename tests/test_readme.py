"""The README's request, body by body, on the embedded default."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from starlette.testclient import TestClient

from blockrank_server.service.api.app import create_app
from blockrank_server.service.settings import Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_curl_answers_with_the_ranking_shown() -> None:
    body = re.search(r"curl -s localhost:8000(/\S+) -d '(.*?)'", README, re.DOTALL)
    shown = re.search(r'"results":(\[.*?\]),"meta"', README, re.DOTALL)
    assert body
    assert shown
    settings = Settings(request_timeout_ms=60_000)
    with TestClient(create_app(settings)) as client:
        while client.get("/health/ready").json()["status"] != "ready":
            assert client.get("/health").status_code == 200
        answer = client.post(body[1], content=body[2])
    assert answer.status_code == 200
    expected = json.loads(shown[1])
    found = answer.json()["results"]
    assert [r["index"] for r in found] == [r["index"] for r in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert abs(ours["relevance_score"] - theirs["relevance_score"]) < 1e-4


def pages() -> Iterator[Path]:
    for folder in (".", "service", "models", "deploy", "deploy/rerank_ray", "deploy/search"):
        yield from (ROOT / folder).glob("*.md")
    yield from (ROOT / "loadtests").glob("*.md")
    yield from (ROOT / "loadtests" / "results" / "README.md", ROOT / "tests/fixtures/README.md")


def test_every_make_target_named_in_the_docs_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        target: page
        for page in pages()
        for target in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)
    }
    assert len(named) > 15, "the test looks in the wrong place"
    assert {each: page for each, page in named.items() if each not in targets} == {}


def test_files_named_in_the_docs_exist() -> None:
    for page in pages():
        for path in re.findall(
            r"`((?:service|models|kernels|tests|loadtests|deploy)/[\w./-]*\w)`",
            page.read_text(encoding="utf-8"),
        ):
            assert (ROOT / path).exists(), f"{page} names {path}"
