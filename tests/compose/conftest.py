"""One stack for all tests, and a report of what they saw."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stack import Stack, image_bytes
from stack_report import Report


@pytest.fixture(scope="session")
def report() -> Iterator[Report]:
    made = Report()
    made.lines += [f"# docker-compose.yml, started for real ({datetime.now(UTC):%Y-%m-%d})", ""]
    for line in Path(os.environ["COMPOSE_BUILDS"]).read_text(encoding="utf-8").splitlines():
        image, seconds = line.split()
        made.say(f"`{image}`: {image_bytes(image) / 1e6:,.0f} MB, built in {seconds} s.")
    yield made
    Path(os.environ["COMPOSE_REPORT"]).write_text("\n".join(made.lines), encoding="utf-8")


@pytest.fixture(scope="session")
def stack(report: Report) -> Iterator[Stack]:
    made = Stack(os.environ["COMPOSE_SERVICES"].split())
    try:
        seconds = made.up()
        report.say(f"`up --wait` of {', '.join(made.services)}, empty volumes: {seconds:.1f} s.")
        yield made
    finally:
        made.close()
