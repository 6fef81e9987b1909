"""One application for the tests that leave it as it was."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from running import Running

Start = Callable[..., Running]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start an application; settings as keywords."""
    started: list[Running] = []

    def start_one(**settings: str) -> Running:
        folder: Path = tmp_path_factory.mktemp("application")
        started.append(Running(folder, **settings))
        return started[-1]

    yield start_one
    for each in started:
        each.close()
