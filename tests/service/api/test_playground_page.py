"""What is sent for /playground, whatever a browser makes of it."""

import gzip
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

import blockrank_server.service.api.playground_page as playground
from blockrank_server.service.api.playground_page import PATH, policy

if TYPE_CHECKING:
    from tests.service.conftest import MakeClient

FOLDER = Path(playground.__file__).with_name("playground")
FILES = sorted(each.name for each in FOLDER.iterdir() if each.name != "index.html")
PAGE = (FOLDER / "index.html").read_text(encoding="utf-8")


def test_everything_the_page_names_is_served(client: TestClient) -> None:
    named = re.findall(r'(?:src|href)="playground/([^"]+)"', PAGE)
    imported = {
        name
        for path in FOLDER.glob("*.js")
        for name in re.findall(r'from "\./([^"]+)"', path.read_text(encoding="utf-8"))
    }
    assert {*named, *imported, "presets.json"} == set(FILES)
    for name in FILES:
        found = client.get(f"{PATH}/{name}")
        assert (found.status_code, found.content) == (200, (FOLDER / name).read_bytes())
        assert found.headers["x-content-type-options"] == "nosniff"


def test_a_script_is_sent_as_one(client: TestClient) -> None:
    types = {name: client.get(f"{PATH}/{name}").headers["content-type"] for name in FILES}
    assert types["main.js"] == "text/javascript; charset=utf-8"
    assert types["style.css"] == "text/css; charset=utf-8"
    assert types["icon.svg"] == "image/svg+xml"
    assert client.get(PATH).headers["content-type"] == "text/html; charset=utf-8"


def test_all_of_it_is_small(client: TestClient) -> None:
    contents = [path.read_bytes() for path in FOLDER.iterdir()]
    assert sum(map(len, contents)) <= 70 * 1024
    assert sum(len(gzip.compress(content, 4)) for content in contents) <= 32 * 1024
    paths = [PATH, *(f"{PATH}/{name}" for name in (*FILES, "clients.json"))]
    answers = [client.get(path, headers={"Accept-Encoding": "gzip"}) for path in paths]
    assert {found.status_code for found in answers} == {200}
    sent = sum(int(found.headers["content-length"]) for found in answers)
    assert sent <= 32 * 1024


def test_nothing_in_it_needs_a_wider_policy() -> None:
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|javascript:", PAGE)
    for path in FOLDER.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|document\.write", text
        )
        urls = set(re.findall(r"https?://[\w.-]+", text))
        assert urls <= {"http://www.w3.org", "http://localhost"}, path.name
        assert not re.search(r"\burl\(|@import", text)


def test_an_unchanged_file_is_not_sent_again(client: TestClient) -> None:
    for path in (PATH, f"{PATH}/main.js"):
        first = client.get(path)
        assert first.headers["cache-control"] == "no-cache"
        etag = first.headers["etag"]
        for sent in (etag, f'"other", W/{etag}'):
            again = client.get(path, headers={"If-None-Match": sent})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == etag
        changed = client.get(path, headers={"If-None-Match": '"other"'})
        assert changed.content == first.content
    assert client.get(f"{PATH}?x").headers["content-security-policy"] == policy("")


def test_the_policy_lets_only_this_server_in() -> None:
    assert policy("").startswith("default-src 'self'; ")
    assert "connect-src" not in policy("")
    assert "unsafe" not in policy("")


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:8001", "https://a.example", "http://[::1]:80", "http://host"]
)
def test_one_more_server_may_be_asked(client: TestClient, origin: str) -> None:
    found = client.get(PATH, params={"compare": origin}).headers["content-security-policy"]
    assert found == f"{policy('')}; connect-src 'self' {origin}"


@pytest.mark.parametrize(
    "origin",
    [
        *("*", "http:", "https://*", "http://*.a.example", "http://a.example; script-src *"),
        *("http://a.example/x", "http://a.example *", "data:", "http://a\r\nX: y", "http://a,b"),
        *("'unsafe-inline'", "ws://a", "http://a\n", "HTTP://a", "http://\u00e9"),
    ],
)
def test_nothing_but_an_origin_widens_the_policy(client: TestClient, origin: str) -> None:
    found = client.get(PATH, params={"compare": origin})
    assert found.headers["content-security-policy"] == policy("")
    assert "x" not in found.headers


@pytest.mark.parametrize("asked", ["/pre/playground", "/pre/playground/", "/pre//playground"])
def test_the_page_knows_its_folder_whoever_says_the_prefix(client: TestClient, asked: str) -> None:
    app = FastAPI()
    app.mount("/pre", client.app)
    outer = TestClient(app)
    [base] = re.findall('<base href="([^"]+)">', outer.get(asked).text)
    assert outer.base_url.join(asked).join(base).join("playground/main.js").path in (
        "/pre/playground/main.js"
    )
    assert outer.get("/pre/playground/main.js").status_code == 200


def test_the_page_goes_where_the_docs_go(make_client: "MakeClient") -> None:
    with make_client(docs=False) as client:
        assert client.get(PATH).status_code == 404
        assert client.get(f"{PATH}/main.js").status_code == 404
