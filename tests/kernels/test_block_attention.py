"""Block attention of every backend against a dense fp64 oracle."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from blockrank_server.kernels.key_rows import KeyRows
from blockrank_server.kernels.launch_config import (
    BlockAttentionConfig,
    arch_of,
    block_attention_config,
)
from blockrank_server.kernels.segments import Segment

LayOut = Callable[..., list[Segment]]
HEAD_DIM = 16


def mixed_batch(lay_out: LayOut, tile: BlockAttentionConfig) -> list[Segment]:
    first = lay_out(0, 3, [tile.block_n + 2, 0, 1], 5)
    second = [Segment(first[-1].stop, first[-1].stop + tile.block_n + 3)]
    third = lay_out(second[-1].stop, tile.block_n - 1, [4] * 6, 2)
    return [*first, *second, *third]


def shared_documents(lay_out: LayOut, tile: BlockAttentionConfig) -> list[Segment]:
    """Two requests; the second's tail sees documents of the first, out of order."""
    first = lay_out(0, 6, [9, tile.block_n, 3], 4)
    start = first[-1].stop
    new = Segment(start, start + 5, ((0, 6),))
    documents = [first[3], new, first[1]]
    seen = ((0, 6), *((each.start, each.stop) for each in documents))
    return [*first, new, Segment(new.stop, new.stop + 3, seen)]


def seen_whole(segments: Sequence[Segment]) -> list[Segment]:
    """The same with segments that are not causal, but for the first and the last."""
    first, *documents, last = segments
    return [first, *(replace(each, is_causal=False) for each in documents), last]


# Each has a tile's sizes to stand around.
CASES: dict[str, Callable[[LayOut, BlockAttentionConfig], list[Segment]]] = {
    "one-token": lambda lay_out, _: lay_out(0, 1, [], 0),
    "one-document": lambda lay_out, _: lay_out(0, 5, [7], 3),
    "around-the-block": lambda lay_out, tile: lay_out(
        0,
        tile.block_n + 1,
        [0, 1, tile.block_n - 1, tile.block_n, tile.block_n + 1],
        tile.block_n,
    ),
    "empty-documents": lambda lay_out, _: lay_out(0, 4, [0, 0, 3, 0], 2),
    "only-empty-documents": lambda lay_out, _: lay_out(0, 4, [0, 0], 2),
    "no-prefix": lambda lay_out, _: lay_out(0, 0, [5, 2], 2),
    "no-tail": lambda lay_out, _: lay_out(0, 4, [5, 2], 0),
    "long-prefix": lambda lay_out, tile: lay_out(0, 3 * tile.block_n - 1, [2, 2], 1),
    "long-tail": lambda lay_out, tile: lay_out(0, 2, [3], tile.block_m + 1),
    "causal": lambda _, tile: [Segment(0, 3 * tile.block_n + 2)],
    "mixed-batch": mixed_batch,
    "shared-documents": shared_documents,
    "documents-seen-whole": lambda lay_out, tile: seen_whole(
        lay_out(0, 5, [0, 1, tile.block_n - 1, 9, 10, 11, tile.block_n + 1, tile.block_m + 3], 4)
    ),
    "documents-seen-whole-split": lambda lay_out, tile: seen_whole(
        lay_out(0, tile.split_keys, [tile.split_keys - 1, tile.split_keys + 5, 7], 2)
    ),
    "documents-seen-whole-without-prefix": lambda lay_out, _: seen_whole(lay_out(0, 0, [7, 8], 2)),
    "one-segment-seen-whole": lambda _, tile: [Segment(0, 2 * tile.block_n, is_causal=False)],
    "keys-that-follow": lambda _, tile: [
        Segment(0, 5, ((5, 7 + tile.block_n),)),
        Segment(5, 7 + tile.block_n, ((0, 5), (2, 2))),
    ],
    "span-twice": lambda *_: [Segment(0, 6), Segment(6, 9, ((0, 4), (0, 4), (4, 6)))],
    "split-keys": lambda lay_out, tile: lay_out(0, 5, [3 * tile.split_keys - 1, 20], 7),
    "split-shared-keys": lambda lay_out, tile: [
        *lay_out(0, 5, [tile.split_keys, 1, tile.split_keys + 9], 2),
        Segment(
            2 * tile.split_keys + 17,
            2 * tile.split_keys + 20,
            (
                (tile.split_keys + 6, 2 * tile.split_keys + 15),
                (0, 5),
                (5, tile.split_keys + 5),
            ),
        ),
    ],
}


ROW_CASES = ["one-token", "mixed-batch", "split-keys", "documents-seen-whole", "causal"]


def tile_of(implementation: Any, dim: int = HEAD_DIM) -> BlockAttentionConfig:
    return block_attention_config(arch_of(implementation.device), dim, implementation.dtype)


def inputs(
    segments: Sequence[Segment],
    heads: int,
    kv_heads: int,
    implementation: Any,
    dim: int,
    key_rows: KeyRows | None = None,
) -> list[torch.Tensor]:
    """q, k, v in the storage dtype, so that oracle, torch and kernel see the same numbers. Rows
    that are no key's are NaN."""
    generator = torch.Generator().manual_seed(0)
    num_tokens = segments[-1].stop
    num_rows = num_tokens if key_rows is None else key_rows.num_rows + 2
    q, k, v = (
        torch.randn(rows, num, dim, generator=generator).to(implementation.dtype)
        for rows, num in ((num_tokens, heads), (num_rows, kv_heads), (num_rows, kv_heads))
    )
    if key_rows is not None:
        unused = torch.ones(num_rows, dtype=torch.bool)
        unused[torch.from_numpy(key_rows.rows_S)] = False
        k[unused], v[unused] = torch.nan, torch.nan
    return [q, k, v]


def attend(
    implementation: Any,
    tensors: Sequence[torch.Tensor],
    segments: Sequence[Segment],
    scale: float,
    key_rows: KeyRows | None = None,
) -> torch.Tensor:
    backend, device = implementation.backend, implementation.device
    plan = backend.plan_block_attention(segments, len(tensors[0]), device, key_rows)
    assert plan.num_tokens == len(tensors[0])
    out: torch.Tensor = backend.block_attention(*(x.to(device) for x in tensors), plan, scale)
    assert out.dtype == tensors[0].dtype
    return out


@pytest.fixture
def check(
    implementation: Any,
    dense_attention: Callable[..., torch.Tensor],
    error_of_a_weight: Callable[..., float],
    assert_as_exact_as: Callable[..., None],
) -> Callable[..., None]:
    def run(
        segments: Sequence[Segment],
        heads: int,
        kv_heads: int,
        dim: int,
        scale: float,
        key_rows: KeyRows | None = None,
    ) -> None:
        q, k, v = inputs(segments, heads, kv_heads, implementation, dim, key_rows)
        assert_as_exact_as(
            attend(implementation, (q, k, v), segments, scale, key_rows),
            dense_attention(q, k, v, segments, scale, key_rows),
            dense_attention(q.double(), k.double(), v.double(), segments, scale, key_rows),
            allowed=error_of_a_weight(q, k.nan_to_num(), scale) * float(v.nan_to_num().abs().max()),
        )

    return run


@pytest.mark.parametrize("case", CASES)
def test_matches_fp64(
    case: str, check: Callable[..., None], implementation: Any, laid_out: LayOut
) -> None:
    check(CASES[case](laid_out, tile_of(implementation)), 4, 2, HEAD_DIM, HEAD_DIM**-0.5)


@pytest.mark.parametrize("case", ROW_CASES)
def test_keys_lie_in_any_rows(
    case: str,
    check: Callable[..., None],
    implementation: Any,
    laid_out: LayOut,
    scattered: Callable[..., KeyRows],
) -> None:
    tile = tile_of(implementation)
    segments = CASES[case](laid_out, tile)
    num_tokens = segments[-1].stop
    behind = num_tokens, num_tokens + tile.block_n + 5
    tail = replace(segments[-1], full=(*segments[-1].full, behind))
    check(
        [*segments[:-1], tail], 4, 2, HEAD_DIM, HEAD_DIM**-0.5, scattered(num_tokens, behind[1] + 3)
    )


def test_a_tail_sees_few_keys_of_many_documents(
    check: Callable[..., None], laid_out: LayOut
) -> None:
    """Each fourth token, side by side behind the tokens, enough of them to be split."""
    segments = laid_out(0, 5, [40] * 20, 3)
    num_tokens = segments[-1].stop
    kept = np.arange(8, 805, 4, dtype=np.int32)
    rows = np.concatenate([np.arange(num_tokens, dtype=np.int32), kept])
    segments[-1] = replace(segments[-1], full=((0, 5), (num_tokens, len(rows))))
    check(segments, 6, 2, HEAD_DIM, 0.25, KeyRows(num_tokens, rows))


@pytest.mark.parametrize(
    ("heads", "kv_heads", "dim"),
    [
        pytest.param(2, 2, 32, id="group1-dim32"),
        pytest.param(9, 3, 64, id="group3-dim64"),
        pytest.param(4, 1, 128, id="group4-dim128"),
        pytest.param(8, 1, 16, id="group8-dim16"),
    ],
)
def test_heads_share_keys(
    heads: int,
    kv_heads: int,
    dim: int,
    check: Callable[..., None],
    implementation: Any,
    laid_out: LayOut,
) -> None:
    segments = mixed_batch(laid_out, tile_of(implementation, dim))
    check(segments, heads, kv_heads, dim, 0.11)  # not the usual scale


def test_a_thousand_documents(check: Callable[..., None], laid_out: LayOut) -> None:
    check(laid_out(0, 3, [1, 0] * 500, 2), 3, 1, HEAD_DIM, 0.25)


def test_no_tokens(implementation: Any) -> None:
    tensors = [torch.ones(0, heads, HEAD_DIM, dtype=implementation.dtype) for heads in (4, 2, 2)]
    for segments in ([], [Segment(0, 0, ((0, 0),))]):
        assert attend(implementation, tensors, segments, 1.0).shape == (0, 4, HEAD_DIM)


def test_large_logits_do_not_overflow(implementation: Any, laid_out: LayOut) -> None:
    """Softmax over logits of thousands picks one key; the exponential of one would be infinite."""
    segments = laid_out(0, 4, [5, 6], 3)
    q, k, v = inputs(segments, 2, 2, implementation, HEAD_DIM)
    k = torch.zeros_like(k)
    k[:, :, 0] = torch.arange(len(k))[:, None]
    q = torch.zeros_like(q)
    q[:, :, 0] = 100
    found = attend(implementation, [q, k, v], segments, 1.0)
    # The largest visible key is the query's own, whose value comes out unchanged; but torch's fused
    # attention on CUDA, which training takes, multiplies by the reciprocal of a weights' sum: an
    # H200 was two units in the last place off.
    is_training = implementation.backend.name == "torch" and implementation.device.type == "cuda"
    eps = 2 * torch.finfo(v.dtype).eps if is_training else 0.0
    torch.testing.assert_close(found.cpu(), v, rtol=eps, atol=0.0)
