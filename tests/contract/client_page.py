"""The blocks of deploy/clients.md, so that what users copy is what is tested."""

import re
from typing import NamedTuple

from live_server import ROOT

PAGE = ROOT / "deploy" / "clients.md"
ADDRESS = "http://localhost:8000"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A block and where it stands."""

    section: str
    title: str
    language: str
    text: str

    def at(self, url: str) -> str:
        """The block with the address of a server in place of the one shown."""
        assert ADDRESS in self.text, f"{self.title} names no server"
        return self.text.replace(ADDRESS, url)


def _blocks() -> list[Block]:
    found = []
    for section in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE):
        for part in re.split(r"^### ", section, flags=re.MULTILINE):
            name, title = section.split("\n")[0], part.split("\n")[0]
            found += [Block(name, title, *groups) for groups in _BLOCK.findall(part)]
    return found


PRELUDE, *BLOCKS = _blocks()
assert PRELUDE.language == "python", "the page begins with what its Python blocks share"


def blocks(*, section: str | None = None, title: str | None = None) -> list[Block]:
    """Blocks of a section, or below one title."""
    found = [b for b in BLOCKS if section in (None, b.section) and title in (None, b.title)]
    assert found, f"nothing of {section or title} on {PAGE.name}"
    return found
