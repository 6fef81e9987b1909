"""The programs of the playground are those of deploy/clients.md, and name paths that exist."""

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from blockrank_server.service.api.playground_clients import ADDRESS, ClientProgram, client_programs
from blockrank_server.service.dialects.registry import ROUTES

CLIENTS = (Path(__file__).parents[3] / "deploy" / "clients.md").read_text(encoding="utf-8")
PROGRAMS = client_programs()


def test_they_are_the_blocks_of_the_document() -> None:
    """All but the first, which defines query and documents, and the last, which the page writes."""
    blocks = re.findall(r"```(\w+)\n(.*?)^```$", CLIENTS, re.M | re.S)
    assert [(each.language, each.text) for each in PROGRAMS] == blocks[1:-1]
    assert len(PROGRAMS) > 30


def test_each_has_a_name_of_its_own() -> None:
    for names in ([each.name for each in PROGRAMS], [each.file_name for each in PROGRAMS]):
        assert len(set(names)) == len(PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda each: each.file_name)
def test_its_address_is_one_of_ours(program: ClientProgram, client: TestClient) -> None:
    paths = {f"{path}/" for route in ROUTES for path in (route.path, *route.aliases)}
    found = re.findall(re.escape(ADDRESS) + r"([\w/]*)", program.text)
    assert found
    for begin in found:
        assert any(path.startswith(begin) for path in paths)
    sent = client.get(f"/playground/clients/{program.file_name}")
    assert (sent.status_code, sent.text) == (200, program.text)
    assert sent.headers["content-type"] == "text/plain; charset=utf-8"


def test_the_page_is_told_their_names(client: TestClient) -> None:
    names = client.get("/playground/clients.json").json()
    assert names == [each.name for each in PROGRAMS]
