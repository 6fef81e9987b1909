"""Which backend a device gets, and what must import where Triton is not installed."""

import subprocess
import sys

import pytest
import torch

from blockrank_server.kernels.backend import TORCH_BACKEND, choose_backend

CUDA = torch.device("cuda")

WITHOUT_TRITON = """
import importlib, sys
from pathlib import Path
import torch
sys.modules["triton"] = None  # an import of it now fails
folder = Path(sys.argv[1])
names = sorted(p.stem for p in folder.glob("*.py") if not p.stem.endswith("_triton"))
for name in names:
    importlib.import_module("blockrank_server.kernels." + name)
from blockrank_server.kernels.backend import choose_backend
from blockrank_server.kernels.segments import Segment
backend = choose_backend(torch.device("cpu"))
plan = backend.plan_block_attention([Segment(0, 3)], 3, torch.device("cpu"))
ones = torch.ones(3, 1, 4)
print(len(names), backend.name, backend.block_attention(ones, ones, ones, plan, 1.0).sum().item())
"""


def test_the_cpu_gets_torch() -> None:
    assert choose_backend(torch.device("cpu")) is TORCH_BACKEND


def test_cuda_gets_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    backend = choose_backend(CUDA)
    assert backend.name == "triton"
    assert backend.block_attention is not TORCH_BACKEND.block_attention
    assert backend.span_lse is not TORCH_BACKEND.span_lse


def test_cuda_without_triton_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(RuntimeError, match="needs the triton package, which is not installed"):
        choose_backend(CUDA)


def test_another_device_is_an_error() -> None:
    with pytest.raises(ValueError, match="device must be cpu or cuda, got mps"):
        choose_backend(torch.device("mps"))


def test_an_old_card_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    with pytest.raises(ValueError, match=r"8\.0 or newer is needed, cuda has 7\.5"):
        choose_backend(CUDA)


def test_kernels_import_and_run_without_triton() -> None:
    folder = sys.modules[choose_backend.__module__].__file__
    assert folder is not None
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TRITON, folder.rpartition("/")[0]],
        capture_output=True,
        text=True,
        check=True,
    )
    num_modules, name, total = done.stdout.split()
    assert int(num_modules) >= 7
    assert (name, total) == ("torch", "12.0")
