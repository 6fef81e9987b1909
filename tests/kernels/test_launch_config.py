"""Launch constants: which card gets which, and that the kernels so launched fit it.

Every variant the cards use is compiled for an A100 (sm_80) and an H100 (sm_90) without a GPU.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from blockrank_server.kernels.launch_config import arch_of

SCRIPT = Path(__file__).with_name("compile_kernels.py")
KIB = 1024
# The A100 has 163 KiB, but the same row serves the cards of 8.6, 8.9 and 12.0 with 99.
SHARED_LIMIT = {"sm80": 99 * KIB, "sm90": 227 * KIB}
SHARED_OF_A_MULTIPROCESSOR = {"sm80": 164 * KIB, "sm90": 228 * KIB}
TENSOR_CORE = {"sm80": "HMMA", "sm90": "HGMMA"}
# Programs that share a multiprocessor, by registers and shared memory. Attention needs the tile
# more than company; the others wait on memory, and hide that only behind one another.
LEAST_PROGRAMS = {
    "attention": 1,
    "attention_rows": 1,
    "lse": 3,
    "lse_rows": 3,
    "merge": 8,
    "lse_merge": 8,
}
WITHOUT_PRODUCTS = ("merge", "lse_merge")

VARIANTS = [
    f"{kernel}-{dtype}-{heads}-{card}"
    for kernel in LEAST_PROGRAMS
    for dtype in ("bf16", "fp16")
    for heads in ("dim64-group3", "dim128-group4")
    for card in ("sm80", "sm90")
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton"))}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, SCRIPT], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, dict[str, int]] = json.loads(done.stdout)
    return result


def test_nothing_else_is_compiled(found: dict[str, dict[str, int]]) -> None:
    assert sorted(found) == sorted(VARIANTS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_fits_the_card(variant: str, found: dict[str, dict[str, int]]) -> None:
    kernel, card = variant.split("-", maxsplit=1)[0], variant.rsplit("-", maxsplit=1)[-1]
    used = found[variant]
    assert used["spilt_bytes"] == 0
    assert used["shared_bytes"] <= SHARED_LIMIT[card]
    by_registers = 65536 // (used["registers"] * used["threads"])
    by_shared = SHARED_OF_A_MULTIPROCESSOR[card] // (used["shared_bytes"] + KIB)
    assert min(by_registers, by_shared) >= LEAST_PROGRAMS[kernel]


@pytest.mark.parametrize(
    "variant", [v for v in VARIANTS if v.split("-")[0] not in WITHOUT_PRODUCTS]
)
def test_it_uses_the_tensor_cores_and_asynchronous_copies(
    variant: str, found: dict[str, dict[str, int]]
) -> None:
    used = found[variant]
    assert used[TENSOR_CORE[variant.rsplit("-", maxsplit=1)[-1]]] > 0
    assert used["LDGSTS"] > 0


@pytest.mark.parametrize(
    ("capability", "arch"),
    [
        ((8, 0), "ampere"),
        ((8, 9), "ampere"),
        ((9, 0), "hopper"),
        ((10, 0), "hopper"),
        ((12, 0), "ampere"),
    ],
)
def test_cards_share_rows_by_shared_memory(
    capability: tuple[int, int], arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert arch_of(torch.device("cuda")) == arch
