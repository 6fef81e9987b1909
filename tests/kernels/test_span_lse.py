"""The span log-sum-exp of every backend against one taken span by span in fp64."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from blockrank_server.kernels import span_lse_tiles
from blockrank_server.kernels.key_rows import KeyRows
from blockrank_server.kernels.segments import Span
from blockrank_server.kernels.span_lse import SpanRead
from blockrank_server.kernels.span_lse_tiles import CHUNK_KEYS
from blockrank_server.kernels.span_lse_triton import MERGE_CHUNKS

HEAD_DIM = 16
BLOCK = 16  # rows and keys of a tile in the interpreter; the CUDA kernel's 64 is a multiple


def documents(start: int, *lengths: int) -> tuple[Span, ...]:
    """Spans one token apart."""
    spans = []
    for length in lengths:
        spans.append((start, start + length))
        start += length + 1
    return tuple(spans)


CASES: dict[str, list[SpanRead]] = {
    "one-key": [SpanRead((1, 2), ((0, 1),))],
    "around-the-block": [
        SpanRead((99, 101), documents(3, 0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK))
    ],
    "empty-documents": [SpanRead((9, 10), ((0, 0), (3, 3), (4, 7), (9, 9)))],
    "tail-in-a-span": [SpanRead((20, 20 + BLOCK + 1), ((0, 20), (18, 60), (30, 33), (55, 60)))],
    "spans-overlap": [SpanRead((40, 43), ((30, 40), (5, 25), (0, 43), (30, 40)))],
    "many-signal-tokens": [SpanRead((50, 50 + 3 * BLOCK - 1), documents(0, 7, 30))],
    "mixed-batch": [
        SpanRead((30, 32), documents(2, 5, 9, 2)),
        SpanRead((70, 70 + BLOCK + 5), documents(33, 4, 20)),
        SpanRead((110, 111), documents(95, 3, 0, 2, 1)),
    ],
    "no-signal": [SpanRead((4, 4), ((0, 3), (3, 4))), SpanRead((9, 10), ((5, 8),))],
    "no-spans": [SpanRead((4, 6), ()), SpanRead((9, 10), ((5, 8),))],
    "long-span": [
        SpanRead((3 * CHUNK_KEYS, 3 * CHUNK_KEYS + 2), documents(5, 9, 0)),
        SpanRead(
            (3 * CHUNK_KEYS + 2, 3 * CHUNK_KEYS + 4),
            ((0, CHUNK_KEYS), (0, 2 * CHUNK_KEYS + 1), (7, 7)),
        ),
    ],
}


def inputs(
    reads: Sequence[SpanRead],
    heads: int,
    kv_heads: int,
    implementation: Any,
    dim: int,
    key_rows: KeyRows | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows that are no key's are NaN."""
    generator = torch.Generator().manual_seed(0)
    num_signal = sum(read.signal[1] - read.signal[0] for read in reads)
    num_rows = max(stop for read in reads for _, stop in (read.signal, *read.spans))
    if key_rows is not None:
        num_rows = key_rows.num_rows + 2
    q = torch.randn(num_signal, heads, dim, generator=generator).to(implementation.dtype)
    k = torch.randn(num_rows, kv_heads, dim, generator=generator).to(implementation.dtype)
    if key_rows is not None:
        unused = torch.ones(num_rows, dtype=torch.bool)
        unused[torch.from_numpy(key_rows.rows_S)] = False
        k[unused] = torch.nan
    return q, k


@pytest.fixture
def check(
    implementation: Any,
    dense_lse: Callable[..., list[torch.Tensor]],
    error_of_a_weight: Callable[..., float],
    assert_as_exact_as: Callable[..., None],
) -> Callable[..., None]:
    def run(
        reads: Sequence[SpanRead],
        heads: Sequence[int],
        kv_heads: int,
        dim: int = HEAD_DIM,
        key_rows: KeyRows | None = None,
    ) -> None:
        backend, device = implementation.backend, implementation.device
        q, k = inputs(reads, len(heads), kv_heads, implementation, dim, key_rows)
        plan = backend.plan_span_lse(reads, device, key_rows)
        assert len(q) == len(plan.signal_R)
        found = backend.span_lse(q.to(device), k.to(device), heads, plan, dim**-0.5)
        # Logits are fp32 sums of exact products whatever the storage dtype, so fp32 is the measure.
        plain = dense_lse(q.float(), k.float(), heads, reads, dim**-0.5, key_rows)
        oracle = dense_lse(q.double(), k.double(), heads, reads, dim**-0.5, key_rows)
        allowed = error_of_a_weight(q, k.nan_to_num(), dim**-0.5)
        for each in zip(found, plain, oracle, strict=True):
            assert_as_exact_as(*each, allowed=allowed)

    return run


@pytest.mark.parametrize("case", CASES)
def test_matches_fp64(case: str, check: Callable[..., None]) -> None:
    check(CASES[case], [0, 0, 1, 1], 2)


@pytest.mark.parametrize("case", ["one-key", "tail-in-a-span", "mixed-batch", "no-signal"])
def test_keys_lie_in_any_rows(
    case: str, check: Callable[..., None], scattered: Callable[..., KeyRows]
) -> None:
    reads = CASES[case]
    num_tokens = max(stop for read in reads for _, stop in (read.signal, *read.spans))
    # Behind the tokens every key is seen, though it comes after the signal tokens.
    behind = documents(num_tokens, 3, BLOCK + 1, 0, 2)
    reads = [SpanRead(read.signal, (*behind[:3], *read.spans, behind[3])) for read in reads]
    key_rows = scattered(num_tokens, behind[-1][1] + 1)
    check(reads, [0, 0, 1, 1], 2, key_rows=key_rows)


def test_a_long_span_behind_the_tokens(check: Callable[..., None]) -> None:
    num_tokens = 2 * CHUNK_KEYS
    rows = np.concatenate([np.arange(num_tokens), np.arange(num_tokens - 5)]).astype(np.int32)
    reads = [SpanRead((40, 43), ((num_tokens, len(rows)), (30, 43), (num_tokens, num_tokens)))]
    check(reads, [0, 1], 2, key_rows=KeyRows(num_tokens, rows))


@pytest.mark.parametrize(
    ("heads", "kv_heads", "dim"),
    [
        pytest.param([0, 1, 2], 3, 32, id="group1"),
        pytest.param([0, 0, 0, 1, 1, 1, 2, 2, 2], 3, 64, id="group3-dim64"),
        pytest.param([0] * 4 + [1] * 4, 2, 128, id="group4-dim128"),
        pytest.param([0] * 8 + [1] * 8, 2, 16, id="group8"),
        pytest.param([1], 3, 16, id="one-head"),
        pytest.param([2, 0, 2, 2, 0], 4, 16, id="any-subset"),
    ],
)
def test_heads_share_keys(
    heads: list[int], kv_heads: int, dim: int, check: Callable[..., None]
) -> None:
    check(CASES["mixed-batch"], heads, kv_heads, dim)


def test_a_span_of_many_chunks(check: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a merge takes in one step."""
    monkeypatch.setattr(span_lse_tiles, "CHUNK_KEYS", 3)
    assert 3 * MERGE_CHUNKS < 170 // 3
    check([SpanRead((170, 173), ((0, 170), (5, 9)))], [0, 0, 1], 2)


def test_a_thousand_documents(check: Callable[..., None]) -> None:
    check([SpanRead((1500, 1502), documents(0, *[1, 0] * 500))], [0, 0, 0], 1)


def test_large_logits_do_not_overflow(implementation: Any) -> None:
    backend, device, dtype = implementation.backend, implementation.device, implementation.dtype
    k = torch.zeros(30, 1, HEAD_DIM, dtype=dtype, device=device)
    k[:, 0, 0] = torch.arange(30)
    q = torch.zeros(1, 1, HEAD_DIM, dtype=dtype, device=device)
    q[0, 0, 0] = 1000
    plan = backend.plan_span_lse([SpanRead((29, 30), ((0, 5), (5, 21)))], device)
    found = backend.span_lse(q, k, [0], plan, 1.0)[0]
    # Of neighbours 1,000 apart only the largest counts.
    torch.testing.assert_close(found.cpu().flatten(), torch.tensor([4000.0, 20000.0]))
