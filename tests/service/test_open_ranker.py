"""Threads of torch: as set, else by the quota, else as torch chooses; and how they wait."""

import os
from collections.abc import Iterator

import pytest
import torch

from blockrank_server.models.engine.cpu_quota import num_cores
from blockrank_server.service import open_ranker
from blockrank_server.service.open_ranker import set_num_threads
from blockrank_server.service.settings import Settings


@pytest.fixture(autouse=True)
def own_choice() -> Iterator[int]:
    """As many threads as there are cores, whatever a test sets."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_cores())
    yield num_cores()
    torch.set_num_threads(before)


@pytest.mark.parametrize(("quota", "threads"), [(0.2, 1), (1.0, 1), (1.2, 2), (1000.0, 1000)])
def test_a_quota_lowers_the_number_of_threads(
    quota: float, threads: int, own_choice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_ranker, "cpu_quota", lambda: quota)
    assert set_num_threads(Settings()) == torch.get_num_threads() == min(threads, own_choice)


def test_a_quota_does_not_raise_the_number_that_torch_was_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.set_num_threads(1)  # as OMP_NUM_THREADS does
    monkeypatch.setattr(open_ranker, "cpu_quota", lambda: 2.0)
    assert set_num_threads(Settings()) == 1


def test_what_is_set_wins_over_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_ranker, "cpu_quota", lambda: 1.0)
    assert set_num_threads(Settings(num_torch_threads=3)) == 3


def test_without_a_quota_torch_chooses(own_choice: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_ranker, "cpu_quota", lambda: None)
    assert set_num_threads(Settings()) == own_choice


@pytest.mark.parametrize(("given", "spins"), [({}, "5000"), ({"OMP_WAIT_POLICY": "PASSIVE"}, None)])
def test_threads_wait_awake_for_a_moment_unless_told_otherwise(
    given: dict[str, str], spins: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # so that it is as it was afterwards
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    set_num_threads(Settings())
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    assert os.environ.get("GOMP_SPINCOUNT") == spins
