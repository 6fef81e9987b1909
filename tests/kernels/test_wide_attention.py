"""Few queries of many keys get what torch's fused attention, which computes gradients, gives."""

from collections.abc import Callable

import pytest
import torch

from blockrank_server.kernels import wide_attention
from blockrank_server.kernels.block_attention import BlockAttentionPlan, block_attention
from blockrank_server.kernels.key_rows import KeyRows
from blockrank_server.kernels.segments import Segment

CPU = torch.device("cpu")
LayOut = Callable[..., list[Segment]]
TOLERANCES = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 2e-2}


def several_tails(lay_out: LayOut) -> list[Segment]:
    """Tails of three lengths that see the same documents, and one that sees fewer."""
    first = lay_out(0, 6, [9, 21, 3], 4)
    full, start = first[-1].full, first[-1].stop
    return [
        *first,
        Segment(start, start + 5, full),
        Segment(start + 5, start + 9, full),
        Segment(start + 9, start + 12, ((0, 6), (15, 36))),
    ]


CASES: dict[str, Callable[[LayOut], list[Segment]]] = {
    "one-list": lambda lay_out: lay_out(0, 5, [7, 0, 30], 6),
    "several-tails": several_tails,
    "tails-seen-whole": lambda _: [
        Segment(0, 9),
        Segment(9, 13, ((0, 9),), is_causal=False),
        Segment(13, 18, ((0, 9),), is_causal=False),
    ],
    "one-run-of-keys": lambda _: [Segment(0, 5, ((5, 40),)), Segment(5, 40)],
    "span-twice": lambda _: [Segment(0, 6), Segment(6, 9, ((0, 4), (0, 4), (4, 6)))],
}


@pytest.mark.parametrize("scale", [0.25, 0.3])
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_it_gives_what_fused_attention_gives(
    name: str,
    dtype: torch.dtype,
    scale: float,
    laid_out: LayOut,
    scattered: Callable[..., KeyRows],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wide_attention, "_MIN_SHARED", 1)
    segments = CASES[name](laid_out)
    num_tokens = segments[-1].stop
    generator = torch.Generator().manual_seed(3)
    for key_rows in (None, scattered(num_tokens, num_tokens + 5)):
        plan = BlockAttentionPlan(segments, num_tokens, CPU, key_rows)
        assert any(group.wide is not None for group in plan)
        num_rows = num_tokens if key_rows is None else key_rows.num_rows
        q, k, v = (
            torch.randn(rows, heads, 16, generator=generator).to(dtype)
            for rows, heads in ((num_tokens, 6), (num_rows, 2), (num_rows, 2))
        )
        fused = block_attention(q.clone().requires_grad_(), k, v, plan, scale)
        assert fused.requires_grad
        k_side_by_side, v_side_by_side = (
            x.transpose(0, 1).contiguous().transpose(0, 1) for x in (k, v)
        )
        for keys, values in ((k, v), (k_side_by_side, v_side_by_side)):
            torch.testing.assert_close(
                block_attention(q, keys, values, plan, scale),
                fused.detach(),
                atol=TOLERANCES[dtype],
                rtol=TOLERANCES[dtype],
            )


@pytest.mark.parametrize(
    ("num_shared", "num_queries", "is_wide"),
    [(511, 3, False), (512, 3, True), (512, 800, False), (512, 700, True)],
)
def test_it_is_for_few_queries_of_many_keys(
    num_shared: int, num_queries: int, is_wide: bool
) -> None:
    stop = num_shared + num_queries
    segments = [Segment(0, num_shared), Segment(num_shared, stop, ((0, num_shared),))]
    found = [group.wide is not None for group in BlockAttentionPlan(segments, stop, CPU)]
    assert sorted(found) == [False, is_wide]
