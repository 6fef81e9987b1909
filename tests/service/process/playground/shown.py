"""Reads what the page shows."""

import json
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

import blockrank_server.service.api.playground_page as playground

FOLDER = Path(playground.__file__).with_name("playground")
PRESETS: list[dict[str, Any]] = json.loads((FOLDER / "presets.json").read_bytes())


def settled(page: Page) -> None:
    """Wait until a ranking is shown."""
    page.wait_for_selector('#slopes[aria-busy="false"] #ranked li')


def ranked(page: Page) -> list[int]:
    """Return the documents' places in the order given, best first."""
    rows = page.locator("#ranked li").all()
    return [int(row.get_attribute("data-index") or "") for row in rows]
