"""Threads of torch: as set, else by the quota, else as torch chooses."""

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
