"""Launch constants: which card gets which, and that the kernels so launched fit it.

Every variant the cards use is compiled for an A100 (sm_80) and an H100 (sm_90) without a GPU.
"""

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch

from blockrank_server.kernels.launch_config import arch_of

# The compiler's processes share two cores with whatever else runs.
pytestmark = pytest.mark.timeout(900)

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
    "scores": 2,
}
WITH_PRODUCTS = ("attention", "attention_rows", "lse", "lse_rows")
# A kernel that holds a row in registers has wide programs: it is their threads that count.
LEAST_THREADS = 1024
GLUE = (
    *("add_rms_norm", "add_rms_norm_fp8", "silu_mul", "silu_mul_fp8", "round_attention_fp8"),
    *("rotate", "rotate_norm"),
)


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


def test_every_group_of_heads_is_compiled(found: dict[str, dict[str, int]]) -> None:
    for dim, group, card in product((64, 128), range(1, 9), ("sm80", "sm90")):
        assert f"attention-bf16-dim{dim}-group{group}-{card}" in found
    assert {label.partition("-")[0] for label in found} == {*LEAST_PROGRAMS, *GLUE}


def test_nothing_is_spilt(found: dict[str, dict[str, int]]) -> None:
    assert {label: used for label, used in found.items() if used["spilt_bytes"]} == {}


def test_every_program_fits_the_card_beside_its_like(found: dict[str, dict[str, int]]) -> None:
    crowded = {}
    for label, used in found.items():
        kernel, card = label.split("-", maxsplit=1)[0], label.rsplit("-", maxsplit=1)[-1]
        assert used["shared_bytes"] <= SHARED_LIMIT[card]
        by_registers = 65536 // (used["registers"] * used["threads"])
        by_shared = SHARED_OF_A_MULTIPROCESSOR[card] // (used["shared_bytes"] + KIB)
        programs = min(by_registers, by_shared)
        least = LEAST_PROGRAMS.get(kernel) or min(32, LEAST_THREADS // used["threads"])
        if programs < least:
            crowded[label] = used
    assert crowded == {}


def test_products_use_the_tensor_cores_and_asynchronous_copies(
    found: dict[str, dict[str, int]],
) -> None:
    for label, used in found.items():
        if label.split("-")[0] in WITH_PRODUCTS:
            assert used[TENSOR_CORE[label.rsplit("-", maxsplit=1)[-1]]] > 0
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
