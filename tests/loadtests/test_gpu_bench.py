"""What loadtests/gpu counts and writes; and the whole of it, dry, on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import run as gpu_run
import torch
from torch.utils.flop_counter import FlopCounterMode

from blockrank_server.kernels.backend import TORCH_BACKEND
from blockrank_server.models.engine.engine import Engine
from blockrank_server.models.engine.packing import pack
from gpu_bench import baselines, tables
from gpu_bench.clock import percentiles
from gpu_bench.engine_rows import kind_of
from gpu_bench.kernel_rows import relative_difference
from gpu_bench.work import Ceilings, Work, attention_work, network_flops, read_work
from gpu_bench.workload import MISTRAL_7B, TINY, TINY_MODEL, document_lengths, request

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


def test_lengths_are_those_the_report_states() -> None:
    lengths = document_lengths(100_000, np.random.default_rng(0))
    assert lengths.mean() == pytest.approx(95, abs=0.5)
    assert 25 <= lengths.min() < 40
    assert lengths.max() == 160


def test_a_request_is_laid_out_as_blockrank_lays_it_out() -> None:
    made = request(3, vocab_size=7, seed=1)
    assert made.num_tokens % 16 == 0
    assert made.block_spans[0, 0] == made.num_prefix_tokens
    assert made.block_spans[-1, 1] == made.tail_start == made.num_tokens - 70
    assert (made.block_spans[1:, 0] == made.block_spans[:-1, 1]).all()
    assert made.signal_span == (made.num_tokens - 2, made.num_tokens)
    starts = made.position_ids[made.block_spans[:, 0]]
    assert starts.tolist() == [made.num_prefix_tokens] * 3
    assert made.position_ids[made.tail_start] == 16384
    assert not np.array_equal(made.token_ids, request(3, vocab_size=7, seed=2).token_ids)


def test_attention_is_counted_by_its_visible_pairs() -> None:
    one = request(3, vocab_size=7, seed=1)
    segments = pack([one], TINY_MODEL.card()).segments
    owner_T = baselines.owners(segments, CPU)
    seen = 0
    for query, mine in enumerate(owner_T.tolist()):
        before = owner_T[: query + 1]
        seen += query + 1 if mine == -2 else int(((before == -1) | (before == mine)).sum())
    work = attention_work(segments, TINY, itemsize=2)
    assert work.flops == 4 * 16 * 4 * seen
    assert work.bytes == 2 * one.num_tokens * 16 * (4 + 2 + 2 + 4)


def test_a_reading_is_counted_by_its_documents_keys() -> None:
    one = request(3, vocab_size=7, seed=1)
    keys = one.tail_start - one.num_prefix_tokens
    work = read_work(pack([one], TINY_MODEL.card()).reads, TINY, itemsize=2)
    assert work.flops == 2 * 16 * 2 * 4 * keys
    assert work.bytes == 2 * 16 * (keys * 2 + 2 * 4) + 2 * 4 * 3 * 4


def test_linear_layers_are_counted_as_torch_counts_them() -> None:
    model = TINY_MODEL
    batch = pack([request(2, 97, seed=3)], model.card())
    engine = Engine(model.network(CPU, torch.float32), model.card(), CPU, TORCH_BACKEND)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        engine.forward(batch)
    counted = counter.get_flop_counts()["Global"]
    flops = network_flops(model.config(), model.last_layer, batch)
    assert counted[torch.ops.aten.mm] == flops["linear"]


def test_mistral_has_the_weights_the_specification_says() -> None:
    """4.36e9 in the linear layers of 20 whole layers."""
    batch = pack([request(100, 97, seed=0)], MISTRAL_7B.card())
    flops = network_flops(MISTRAL_7B.config(), 20, batch)
    assert flops["linear"] / 2 / batch.num_tokens == pytest.approx(4.36e9, rel=0.005)


def test_the_share_is_that_of_the_larger_floor() -> None:
    ceilings = Ceilings(tflops=800, sustained_tflops=700, gbytes=4000)
    bound_by_arithmetic = Work(flops=8 * 10**11, bytes=10**6).rates(2.0, ceilings)
    assert bound_by_arithmetic == pytest.approx({"tflops": 400, "gbytes": 0.5, "share": 0.5})
    bound_by_memory = Work(flops=10**6, bytes=4 * 10**9).rates(4.0, ceilings)
    assert bound_by_memory == pytest.approx({"tflops": 2.5e-4, "gbytes": 1000, "share": 0.25})


def test_percentiles_are_values_that_were_seen() -> None:
    assert percentiles(list(range(1, 101))) == {"p50": 50, "p95": 95, "p99": 99}
    assert percentiles([3.0, 1.0]) == {"p50": 1, "p95": 3, "p99": None}


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ("block_attention_kernel", "attention"),
        ("merge_block_attention_kernel", "attention"),
        ("span_lse_kernel", "read"),
        ("merge_span_lse_kernel", "read"),
        ("document_scores_kernel", "read"),
        ("add_rms_norm_kernel", "glue"),
        ("rotate_kernel", "glue"),
        ("silu_mul_kernel", "glue"),
        ("round_attention_kernel", "glue"),
        ("nvjet_tst_256x128_64x4_1x2_h_bz_coopA_NTN", "products"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n", "products"),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::silu>", "rest"),
        ("triton_per_fused__to_copy_add_mean_mul_pow_rsqrt_0", "rest"),
        ("Memcpy HtoD (Pinned -> Device)", "copies"),
    ],
)
def test_kernels_are_told_apart_by_name(kernel: str, kind: str) -> None:
    assert kind_of(kernel) == kind


def test_a_table_leaves_out_what_no_row_has() -> None:
    rows: list[tables.Row] = [
        {"documents": 10, "dense_ms": 7.4, "tokens": 9},
        {"documents": 20, "tokens": 8},
    ]
    assert tables.table(tables.DENSE, rows) == (
        "| documents | tokens | dense prefill + id, ms |\n"
        "| --- | --- | --- |\n"
        "| 10 | 9 | 7 |\n"
        "| 20 | 8 | - |\n"
    )


def test_a_part_is_written_after_every_row_and_keeps_what_failed(tmp_path: Path) -> None:
    path = tmp_path / "made" / "bf16.json"
    part = tables.Part(path)

    def fail() -> None:
        raise ValueError("no such tile\nsecond line")

    part.add("Engine, end to end", {"documents": 10, "p50_ms": 1.5})
    assert json.loads(path.read_text())["rows"] == {
        "Engine, end to end": [{"documents": 10, "p50_ms": 1.5}]
    }
    assert not part.guarded("tiles", fail)
    assert part.guarded("more", lambda: part.note("left out"))
    found = tables.report("t", ["STAMP"], [json.loads(path.read_text())])
    assert found.startswith("# t\n\n**STAMP**\n")
    assert "- FAILED: tiles: ValueError: no such tile\n- left out\n" in found
    assert "Traceback (most recent call last)" in found


def test_a_difference_is_relative_to_the_expected() -> None:
    expected = torch.tensor([3.0, 4.0])
    assert relative_difference(expected + torch.tensor([0.0, 0.5]), expected) == 0.1


def test_another_kernel_is_compared_over_the_same_keys() -> None:
    one = request(3, vocab_size=7, seed=1)
    batch = pack([one], TINY_MODEL.card())
    q, k, v = (torch.randn(batch.num_tokens, heads, 16) for heads in (4, 2, 2))
    plan = TORCH_BACKEND.plan_block_attention(batch.segments, batch.num_tokens, CPU)
    expected = TORCH_BACKEND.block_attention(q, k, v, plan, 0.25)
    torch.testing.assert_close(baselines.flash(q, k, v, batch.segments)(), expected)


def test_a_run_takes_eight_minutes_and_says_what_ended_badly(tmp_path: Path) -> None:
    steps = gpu_run.steps(tmp_path, is_dry=False)
    assert [step.name for step in steps][:3] == ["tests", "bf16", "fp8"]
    assert sum(step.limit_s for step in steps[:-1]) <= gpu_run.LIMIT_S
    assert gpu_run.stamps({"tests": 0, "bf16": 0}) == []
    red, slow, ended = gpu_run.stamps({"tests": 1}) + gpu_run.stamps({"tests": 124, "fp8": -9})
    assert red == "THE TESTS ARE RED (CODE 1): these numbers are not results."
    assert slow == "THE TESTS DID NOT END IN TIME: these numbers are not results."
    assert ended == "fp8 ended with code -9: its rows may be incomplete."


def test_a_step_that_hangs_is_ended_and_its_output_kept(tmp_path: Path) -> None:
    code = "import time; print('begun', flush=True); time.sleep(60)"
    step = gpu_run.Step("hangs", ["-c", code], 9)
    assert gpu_run.run(step, 2.0, tmp_path / "output.txt", os.environ) == 124
    assert "begun" in (tmp_path / "output.txt").read_text()


def test_a_dry_run_writes_every_table_and_the_baselines_agree(tmp_path: Path) -> None:
    """Without the installed package: run.py lays it out itself."""
    ours = "PYTHONPATH", "TRITON_INTERPRET"
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        [sys.executable, ROOT / "loadtests/gpu/run.py", "--dry-run", "--out", tmp_path],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = (tmp_path / "report.md").read_text()
    assert report in done.stdout
    assert report.startswith("# Dry run, ")
    found: dict[str, list[dict[str, Any]]] = {}
    for path in tmp_path.glob("*.json"):
        part = json.loads(path.read_text())
        assert (part["notes"], part["failures"]) == ([], [])
        for title, rows in part["rows"].items():
            found.setdefault(title, []).extend(rows)
    assert sorted(found) == sorted(tables.TABLES)
    engine = [(row["variant"], row["documents"]) for row in found["Engine, end to end"]]
    # The section of graphs has bf16 and fp8 again, and both without graphs.
    variants = "bf16", "bf16", "bf16-eager", "fp8", "fp8", "fp8-eager"
    assert sorted(engine) == sorted((name, count) for name in variants for count in (2, 3))
    assert all(row["encode_ms"] > 0 for row in found["Engine, end to end"])
    assert all(row["products"] > 0 for row in found["Where the device's time goes"])
    # bfloat16 has 8 bits: results of two kernels are apart by its rounding, no more.
    kernels, rivals = found["Kernels, one layer, one request"], found["Attention beside others"]
    assert max(row["torch_difference"] for row in kernels) < 2**-7
    assert max(row["difference"] for row in rivals) < 2**-7
    assert {"flash_ms", "sdpa_ms"} <= rivals[0].keys()
    assert "flex_ms" in rivals[-1]
