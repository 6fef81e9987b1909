"""What looks at the engine as CUDA runs it, where there is no CUDA."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from blockrank_server.kernels import (
    block_attention_fp8_triton,
    block_attention_triton,
    document_scores_triton,
    glue_triton,
    span_lse_triton,
)

MODULES = (
    *(block_attention_triton, block_attention_fp8_triton, span_lse_triton),
    *(document_scores_triton, glue_triton),
)


@pytest.fixture
def kernel_launches(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts launches of the Triton kernels, which compute nothing from now on; what surrounds a
    launch, and the memory it takes, is as on a Hopper card."""
    counts: Counter[str] = Counter()

    class Counted:
        def __init__(self, name: str) -> None:
            self.name = name

        def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
            def launch(*_: Any, **__: Any) -> None:
                counts[self.name] += 1

            return launch

    for module in MODULES:
        if hasattr(module, "arch_of"):
            monkeypatch.setattr(module, "arch_of", lambda _: "hopper")
        for name in [name for name in vars(module) if name.endswith("_kernel")]:
            monkeypatch.setattr(module, name, Counted(name))
    return counts
