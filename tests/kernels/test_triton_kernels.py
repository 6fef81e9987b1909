"""What only the Triton kernels promise: paths, bits, strides, offsets, refusals."""

import mmap
from collections.abc import Callable
from typing import Any

import pytest
import torch

from blockrank_server.kernels import block_attention_triton, span_lse_triton
from blockrank_server.kernels.backend import triton_backend
from blockrank_server.kernels.launch_config import arch_of, block_attention_config
from blockrank_server.kernels.segments import Segment
from blockrank_server.kernels.span_lse import SpanRead

LayOut = Callable[..., list[Segment]]
MAP_NORESERVE = 0x4000  # of Linux; the mmap module does not name it


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def attend(kernels_on: Any, segments: list[Segment], *tensors: torch.Tensor) -> torch.Tensor:
    backend, device = kernels_on.backend, kernels_on.device
    plan = backend.plan_block_attention(segments, segments[-1].stop, device)
    out: torch.Tensor = backend.block_attention(*(x.to(device) for x in tensors), plan, 0.25)
    return out.cpu()


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

    for module, names in (
        (block_attention_triton, ("block_attention_kernel", "merge_block_attention_kernel")),
        (span_lse_triton, ("span_lse_kernel", "merge_span_lse_kernel")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, Recorded(name, getattr(module, name)))
    return grids


def test_a_long_list_splits_the_tail(
    kernels_on: Any, laid_out: LayOut, launched: dict[str, tuple[int, ...]]
) -> None:
    tile = block_attention_config(arch_of(kernels_on.device), 16, kernels_on.dtype)
    segments = laid_out(0, 4, [tile.split_keys, tile.split_keys, 3], 2)
    heads = random(segments[-1].stop, 1, 16)
    attend(kernels_on, segments, heads, heads, heads)
    block_q = tile.block_m
    whole = sum(-(-segment.num_tokens // block_q) for segment in segments[:-1])
    assert launched["block_attention_kernel"] == (whole + 2, 1)  # the tail's one block, in 2 splits
    assert launched["merge_block_attention_kernel"][:2] == (1, 1)


def test_a_short_list_needs_no_merge(
    kernels_on: Any, laid_out: LayOut, launched: dict[str, tuple[int, ...]]
) -> None:
    segments = laid_out(0, 4, [5, 3, 0], 2)
    attend(kernels_on, segments, *(random(14, heads, 16) for heads in (6, 2, 2)))
    assert launched == {"block_attention_kernel": (4, 2)}


def test_a_long_span_is_read_in_chunks(
    kernels_on: Any, launched: dict[str, tuple[int, ...]]
) -> None:
    backend, device = kernels_on.backend, kernels_on.device
    plan = backend.plan_span_lse([SpanRead((1200, 1201), ((0, 1030), (4, 9)))], device)
    backend.span_lse(random(1, 2, 16).to(device), random(1201, 1, 16).to(device), [0, 0], plan, 1.0)
    assert launched["span_lse_kernel"] == (4, 1, 1)
    assert launched["merge_span_lse_kernel"][0] == 2


def test_attention_does_not_depend_on_batch_mates(kernels_on: Any, laid_out: LayOut) -> None:
    """To the bit: a request's tiles and splits come from its own segments."""
    tile = block_attention_config(arch_of(kernels_on.device), 16, kernels_on.dtype)
    alone = laid_out(0, 4, [tile.split_keys, tile.split_keys + 3, 3], 2)
    num = alone[-1].stop
    batch = [*alone, *laid_out(num, 9, [tile.split_keys] * 3, 40), Segment(0, 0)]
    batch[-1] = Segment(batch[-2].stop, batch[-2].stop + 50)
    tensors = [random(batch[-1].stop, heads, 16, seed=heads) for heads in (2, 1)]
    q, k, v = tensors[0], tensors[1], tensors[1].flip(-1)
    with_mates = attend(kernels_on, batch, q, k, v)[:num]
    assert torch.equal(attend(kernels_on, alone, q[:num], k[:num], v[:num]), with_mates)


def test_reading_does_not_depend_on_batch_mates(kernels_on: Any) -> None:
    backend, device = kernels_on.backend, kernels_on.device
    reads = [SpanRead((700, 702), ((0, 600), (4, 30))), SpanRead((40, 73), ((3, 9), (9, 40)))]
    q, k = random(35, 3, 16).to(device), random(702, 2, 16).to(device)
    both = backend.span_lse(q, k, [0, 1, 1], backend.plan_span_lse(reads, device), 0.25)
    for read, rows, with_mates in zip(reads, (q[:2], q[2:]), both, strict=True):
        plan = backend.plan_span_lse([read], device)
        (alone,) = backend.span_lse(rows, k, [0, 1, 1], plan, 0.25)
        assert torch.equal(alone, with_mates)


def test_tokens_and_heads_may_be_strided(kernels_on: Any, laid_out: LayOut) -> None:
    segments = laid_out(0, 4, [5, 6], 2)
    num = segments[-1].stop
    heads_first = [random(heads, num, 16, seed=heads) for heads in (4, 2)]
    q, k = (x.transpose(0, 1) for x in heads_first)
    v = torch.cat([k, k], dim=-1)[..., 16:]
    assert not q.is_contiguous()
    found = attend(kernels_on, segments, q, k, v)
    assert torch.equal(
        found, attend(kernels_on, segments, q.contiguous(), k.contiguous(), v.contiguous())
    )
    backend, device = kernels_on.backend, kernels_on.device
    plan = backend.plan_span_lse([SpanRead((num - 2, num), ((4, 9), (9, 15)))], device)
    read = [
        backend.span_lse(rows.to(device), keys.to(device), [0, 0, 1, 1], plan, 0.25)[0]
        for rows, keys in ((q[-2:], k), (q[-2:].contiguous(), k.contiguous()))
    ]
    assert torch.equal(*read)


def test_offsets_pass_2_to_the_31(kernels_on: Any) -> None:
    """Tokens 2**25 elements apart, in memory that is reserved and hardly touched."""
    num, stride = 70, 2**25
    if kernels_on.device.type == "cpu":
        memory = mmap.mmap(
            -1, num * stride * 2, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
        )
        space = torch.frombuffer(memory, dtype=torch.float16)
    else:
        space = torch.zeros(num * stride, dtype=torch.float16, device=kernels_on.device)
    near = [random(num, heads, 16, seed=heads).half() for heads in (2, 1, 1)]
    far = [
        space.as_strided((num, x.shape[1], 16), (stride, 16, 1), 100 * i)
        for i, x in enumerate(near)
    ]
    for there, here in zip(far, near, strict=True):
        there.copy_(here)
    assert (num - 1) * stride > 2**31
    segments = [Segment(0, 4), Segment(4, 60, ((0, 4),)), Segment(60, 70, ((0, 60),))]
    assert torch.equal(attend(kernels_on, segments, *far), attend(kernels_on, segments, *near))

    backend, device = kernels_on.backend, kernels_on.device
    plan = backend.plan_span_lse([SpanRead((0, 70), ((4, 70), (0, 4)))], device)
    read = [
        backend.span_lse(q.to(device), k.to(device), [0, 0], plan, 0.25)[0]
        for q, k, _ in (far, near)
    ]
    assert torch.equal(*read)


@pytest.mark.parametrize(
    ("q", "message"),
    [
        pytest.param(
            torch.zeros(4, 2, 16, dtype=torch.float64),
            r"q must be float32, bfloat16 or float16, got torch\.float64",
            id="dtype",
        ),
        pytest.param(
            torch.zeros(4, 2, 80), r"a power of two in 16 \.\. 256, got 80", id="head-dim-80"
        ),
        pytest.param(torch.zeros(4, 2, 8), r"in 16 \.\. 256, got 8", id="head-dim-8"),
        pytest.param(torch.zeros(4, 2, 512), r"in 16 \.\. 256, got 512", id="head-dim-512"),
        pytest.param(
            torch.zeros(4, 2, 32)[..., ::2], "the last axis needs stride 1, got 2", id="stride"
        ),
        pytest.param(
            torch.zeros(4, 2, 16, requires_grad=True), "q wants a gradient", id="gradient"
        ),
    ],
)
def test_what_only_torch_can_do_is_refused(q: torch.Tensor, message: str, kernels_on: Any) -> None:
    backend, device = kernels_on.backend, kernels_on.device
    k = torch.zeros(4, 1, q.shape[2], dtype=q.dtype, device=device)
    attention = backend.plan_block_attention([Segment(0, 4)], 4, device)
    with pytest.raises(ValueError, match=message):
        backend.block_attention(q.to(device), k, k, attention, 1.0)
    reads = backend.plan_span_lse([SpanRead((0, 4), ((0, 2),))], device)
    with pytest.raises(ValueError, match=message):
        backend.span_lse(q.to(device), k, [0, 0], reads, 1.0)


def test_more_heads_than_a_tile_has_rows_are_refused(kernels_on: Any) -> None:
    backend, device = kernels_on.backend, kernels_on.device
    plan = backend.plan_block_attention([Segment(0, 2)], 2, device)
    k = torch.zeros(2, 1, 16, device=device)
    with pytest.raises(ValueError, match=r"at most \d+ query heads per KV head, got 200"):
        backend.block_attention(torch.zeros(2, 200, 16, device=device), k, k, plan, 1.0)


@pytest.mark.gpu
def test_new_lengths_compile_nothing_new(laid_out: LayOut) -> None:
    """Only head_dim, heads per KV head and dtype make a new kernel."""
    device = torch.device("cuda")
    backend = triton_backend()
    kernels = [
        block_attention_triton.block_attention_kernel,
        block_attention_triton.merge_block_attention_kernel,
        span_lse_triton.span_lse_kernel,
        span_lse_triton.merge_span_lse_kernel,
    ]
    counts = []
    for documents, tail, heads in (
        ([700, 700], 2, 4),
        ([33, 1999, 0, 1], 48, 3),
        ([640] * 40, 1, 1),
    ):
        segments = laid_out(0, 5, documents, tail)
        num = segments[-1].stop
        q, k = (torch.randn(num, each, 64, device=device).bfloat16() for each in (4, 1))
        backend.block_attention(q, k, k, backend.plan_block_attention(segments, num, device), 0.125)
        plan = backend.plan_span_lse([SpanRead((num - tail, num), ((5, num),))], device)
        backend.span_lse(q[num - tail :, :heads], k, [0] * heads, plan, 0.125)
        # Triton keeps the compiled variants of a device first in this tuple.
        counts.append([len(kernel.device_caches[0][0]) for kernel in kernels])
    assert counts[0] == counts[1] == counts[2]
    assert min(counts[0]) > 0
