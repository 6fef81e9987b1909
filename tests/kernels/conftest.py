"""Implementations under test, the fp64 oracles, and the measured error budget.

The masks below are made token by token from the segments' definition; they share nothing with the
plans. Axes as in kernels/block_attention.py and kernels/span_lse.py.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from blockrank_server.kernels.backend import TORCH_BACKEND, Backend, choose_backend, triton_backend
from blockrank_server.kernels.key_rows import KeyRows
from blockrank_server.kernels.padded_attention import PaddedAttentionPlan, padded_attention
from blockrank_server.kernels.segments import Segment, Span
from blockrank_server.kernels.span_lse import SpanRead

CPU = torch.device("cpu")
CUDA = torch.device("cuda")
PADDED = replace(
    TORCH_BACKEND, plan_block_attention=PaddedAttentionPlan, block_attention=padded_attention
)
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


@dataclass(frozen=True)
class Implementation:
    backend: Backend
    device: torch.device
    dtype: torch.dtype


def _implementations() -> Iterator[Any]:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        name = str(dtype).removeprefix("torch.")
        yield pytest.param(("torch", CPU, dtype), id=f"torch-{name}")
        yield pytest.param(("padded", CPU, dtype), id=f"padded-{name}")
        yield pytest.param(("padded", CUDA, dtype), id=f"padded-cuda-{name}", marks=pytest.mark.gpu)
        # The interpreter computes bfloat16 wrongly, without a word.
        if dtype != torch.bfloat16:
            device = CPU if INTERPRETED else CUDA
            yield pytest.param(("triton", device, dtype), id=f"triton-{name}")
        yield pytest.param(("chosen", CUDA, dtype), id=f"cuda-{name}", marks=pytest.mark.gpu)


@pytest.fixture(params=_implementations())
def implementation(request: pytest.FixtureRequest) -> Implementation:
    """Torch on the CPU, Triton wherever it runs here, and what a CUDA device is given."""
    name, device, dtype = request.param
    if name == "chosen":
        return Implementation(choose_backend(device), device, dtype)
    backends = {"torch": lambda: TORCH_BACKEND, "padded": lambda: PADDED, "triton": triton_backend}
    return Implementation(backends[name](), device, dtype)


@pytest.fixture
def kernels_on() -> Implementation:
    """The Triton kernels in fp32, interpreted where there is no GPU."""
    return Implementation(triton_backend(), CPU if INTERPRETED else CUDA, torch.float32)


@pytest.fixture(autouse=True)
def _poisoned_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh floating-point memory is NaN, so an element nobody writes shows."""

    def poisoning(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def empty(*args: Any, **kwargs: Any) -> torch.Tensor:
            made = function(*args, **kwargs)
            return made.fill_(torch.nan) if made.is_floating_point() else made

        return empty

    for name in ("empty", "empty_like"):
        monkeypatch.setattr(torch, name, poisoning(getattr(torch, name)))


@pytest.fixture(scope="session")
def laid_out() -> Callable[..., list[Segment]]:
    """Segments of one request that begins at a token: prefix, documents, tail."""

    def lay_out(start: int, prefix: int, documents: Sequence[int], tail: int) -> list[Segment]:
        shared: Span = (start, start + prefix)
        segments = [Segment(*shared)]
        for length in documents:
            stop = segments[-1].stop
            segments.append(Segment(stop, stop + length, (shared,)))
        stop = segments[-1].stop
        segments.append(Segment(stop, stop + tail, ((start, stop),)))
        return segments

    return lay_out


@pytest.fixture(scope="session")
def visible_TT() -> Callable[..., torch.Tensor]:
    """[T, S] int64, how often each query sees each key: a span given twice counts twice."""

    def count(segments: Sequence[Segment], key_rows: KeyRows | None = None) -> torch.Tensor:
        num_tokens = segments[-1].stop
        num_keys = num_tokens if key_rows is None else key_rows.num_keys
        seen_TS = torch.zeros(num_tokens, num_keys, dtype=torch.int64)
        for segment in segments:
            for query in range(segment.start, segment.stop):
                own_stop = query + 1 if segment.is_causal else segment.stop
                seen_TS[query, segment.start : own_stop] += 1
                for start, stop in segment.full:
                    seen_TS[query, start:stop] += 1
        return seen_TS

    return count


@pytest.fixture(scope="session")
def dense_attention(
    visible_TT: Callable[..., torch.Tensor],
) -> Callable[..., torch.Tensor]:
    """Attention with a [T, S] mask in the inputs' dtype, softmax in fp32 or fp64: the oracle for
    fp64 inputs, and the yardstick of what a dtype costs for the others."""

    def attend(
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        segments: Sequence[Segment],
        scale: float,
        key_rows: KeyRows | None = None,
    ) -> torch.Tensor:
        group = q.shape[1] // k.shape[1]
        if key_rows is not None:
            k, v = (x[torch.from_numpy(key_rows.rows_S)] for x in (k, v))
        q, k, v = (x.cpu().transpose(0, 1) for x in (q, k, v))
        k, v = (x.repeat_interleave(group, 0) for x in (k, v))
        wide = torch.promote_types(q.dtype, torch.float32)
        logits = (q @ k.transpose(1, 2)).to(wide) * scale + visible_TT(segments, key_rows).to(
            wide
        ).log()
        return (logits.softmax(-1).to(q.dtype) @ v).transpose(0, 1)

    return attend


@pytest.fixture(scope="session")
def dense_lse() -> Callable[..., list[torch.Tensor]]:
    """Log-sum-exp of every (head, signal token, span) on its own, in the dtype of the inputs."""

    def read(
        q: torch.Tensor,
        k: torch.Tensor,
        heads: Sequence[int],
        reads: Sequence[SpanRead],
        scale: float,
        key_rows: KeyRows | None = None,
    ) -> list[torch.Tensor]:
        rows = iter(q.cpu())
        table = key_rows or KeyRows(len(k), np.arange(len(k), dtype=np.int32))
        keys, num_tokens = k.cpu()[torch.from_numpy(table.rows_S)], table.num_tokens
        results = []
        for each in reads:
            lse = [
                [
                    [
                        (keys[start:end, kv] @ row[head] * scale).logsumexp(0)
                        for start, stop in each.spans
                        # A signal token sees tokens up to itself, and all keys behind the tokens.
                        for end in [stop if start >= num_tokens else min(stop, token + 1)]
                    ]
                    for head, kv in enumerate(heads)
                ]
                for token, row in zip(range(*each.signal), rows, strict=False)
            ]
            shape = each.signal[1] - each.signal[0], len(heads), len(each.spans)
            results.append(torch.tensor(lse, dtype=q.dtype).view(shape).transpose(0, 1))
        return results

    return read


@pytest.fixture(scope="session")
def scattered() -> Callable[..., KeyRows]:
    """A table of num_tokens tokens and num_keys keys whose rows lie anywhere: each token in a row
    of its own, the keys behind them in rows of tokens or in others."""

    def scatter(num_tokens: int, num_keys: int) -> KeyRows:
        rows_S = np.random.default_rng(num_keys).permutation(2 * num_keys)[:num_keys]
        again = range(num_tokens, num_keys, 3)
        rows_S[again] = rows_S[np.arange(len(again)) % max(num_tokens, 1)]
        return KeyRows(num_tokens, rows_S.astype(np.int32))

    return scatter


@pytest.fixture(scope="session")
def error_of_a_weight() -> Callable[..., float]:
    """What fp32 logits do to a softmax weight, relative to it.

    A logit is rounded when it is scaled, and off by a share of itself; the exponential turns that
    into a relative error of its result, and is itself off by two units in the last place.
    """

    def bound(q: torch.Tensor, k: torch.Tensor, scale: float) -> float:
        largest_logit = scale * q.float().norm(dim=-1).max() * k.float().norm(dim=-1).max()
        return float(torch.finfo(torch.float32).eps * (2 + largest_logit))

    return bound


@pytest.fixture(scope="session")
def assert_as_exact_as() -> Callable[..., None]:
    """At most twice the error of plain torch in the same dtype, plus one rounding of the result
    and what a kernel's own order of operations may cost."""

    def check(
        found: torch.Tensor, plain: torch.Tensor, oracle: torch.Tensor, allowed: float = 0.0
    ) -> None:
        assert found.shape == oracle.shape
        assert found.dtype == plain.dtype
        eps = torch.finfo(found.dtype).eps
        found, plain = found.cpu().double(), plain.double()
        assert not found.isnan().any()
        assert torch.equal(found.isinf(), oracle.isinf())
        finite = oracle.isfinite()
        if finite.any():
            error, error_of_torch = ((each - oracle)[finite].abs().max() for each in (found, plain))
            assert error <= 2 * error_of_torch + eps * oracle[finite].abs().max() + allowed

    return check
