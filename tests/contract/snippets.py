"""Runs the Python blocks of deploy/clients.md as they stand there."""

import os

import pytest

from client_page import PRELUDE, Block, blocks
from live_server import LiveServer


def of_section(section: str) -> list[object]:
    """The blocks of a section as parameters of a test."""
    found = blocks(section=section)
    return [pytest.param(block, id=f"{block.title}-{i}") for i, block in enumerate(found)]


def run_python(block: Block, server: LiveServer) -> None:
    """Run one, and undo what it does to the environment."""
    assert block.language == "python"
    before = dict(os.environ)
    try:
        exec(compile(PRELUDE.text + block.at(server.url), block.title, "exec"), {})
    finally:
        os.environ.clear()
        os.environ.update(before)
