"""Reads the programs that the playground shows: each is sent alone, to who picks it."""

import re
from pathlib import Path
from typing import NamedTuple

_FILE = Path(__file__).with_suffix(".md")
_PROGRAM = re.compile(
    r"^## (?P<name>[^\n]+)\n\n```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S
)
ADDRESS = "http://localhost:8000"
"""Stands for the address of the server, as KEY does for an API key."""


class ClientProgram(NamedTuple):
    """Holds how to point one client at this server.

    Attributes:
        name: what the page calls it.
        language: python takes variables named query and documents from the lines before it; all
            others stand alone.
    """

    name: str
    language: str
    text: str

    @property
    def file_name(self) -> str:
        return f"{re.sub(r'[^a-z0-9_]+', '-', self.name.lower())}.txt"


def client_programs() -> list[ClientProgram]:
    """Read all programs, in the order in which they are shown."""
    text = _FILE.read_text(encoding="utf-8")
    return [ClientProgram(*found.groups()) for found in _PROGRAM.finditer(text)]
