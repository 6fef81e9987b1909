"""The section "Packages" of deploy/clients.md."""

import pytest

from client_page import Block
from live_server import LiveServer
from snippets import of_section, run_python


@pytest.mark.parametrize("block", of_section("Packages"))
def test_the_block_prints_the_ranking(
    server: LiveServer, block: Block, capsys: pytest.CaptureFixture[str]
) -> None:
    run_python(block, server)
    assert capsys.readouterr().out == "[1, 0]\n"
