"""The kernels under test, what they are launched on, and inputs at the edge of what they take."""

import mmap
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from blockrank_server.kernels import block_attention_triton, span_lse_triton

MAP_NORESERVE = 0x4000  # of Linux; the mmap module does not name it
LAUNCHED = {
    block_attention_triton: ("block_attention_kernel", "merge_block_attention_kernel"),
    span_lse_triton: ("span_lse_kernel", "merge_span_lse_kernel"),
}


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, ...]]:
    """The grid each kernel was launched on, by name."""
    grids: dict[str, tuple[int, ...]] = {}

    class Recorded:
        def __init__(self, name: str, kernel: Any) -> None:
            self.name, self.kernel = name, kernel

        def __getitem__(self, grid: tuple[int, ...]) -> Any:
            grids[self.name] = grid
            return self.kernel[grid]

    for module, names in LAUNCHED.items():
        for name in names:
            monkeypatch.setattr(module, name, Recorded(name, getattr(module, name)))
    return grids


@pytest.fixture
def spread(kernels_on: Any) -> Callable[[Sequence[torch.Tensor]], list[torch.Tensor]]:
    """The same [T, heads, 16] fp16 values with tokens 2**25 elements apart, so that the last passes
    2**31, in memory that is reserved and hardly touched."""

    def copy(near: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        num, stride = len(near[0]), 2**25
        assert (num - 1) * stride > 2**31
        if kernels_on.device.type == "cpu":
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
            memory = mmap.mmap(-1, num * stride * 2, flags=flags)
            space = torch.frombuffer(memory, dtype=torch.float16)
        else:
            space = torch.zeros(num * stride, dtype=torch.float16, device=kernels_on.device)
        far = [
            space.as_strided((num, x.shape[1], 16), (stride, 16, 1), 100 * i)
            for i, x in enumerate(near)
        ]
        for there, here in zip(far, near, strict=True):
            there.copy_(here)
        return far

    return copy
