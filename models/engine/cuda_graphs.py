"""Replays what stands between two attentions as CUDA graphs, for batches of few tokens.

Of few tokens the host launches more slowly than the device works. All of a layer but its attention
is computed row by row, whatever the rows are, so it is captured once for each bucket of tokens, and
a batch runs in the smallest bucket that holds it: what is computed of the rows behind its own is
read by nobody. Attention, which depends on the segments, runs between the graphs as without them.

Axes: T = tokens, C = hidden size, D = head_dim, h = heads of queries, keys and values together.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, Self

import torch

from blockrank_server.kernels.glue import FP8, Activations, RoundedRows

BUCKETS = (32, 64, 96, 128, 192, 256, *range(384, 1537, 128))
"""Numbers of tokens. A batch computes up to a bucket's rows: steps are small where a product's time
is that of its weights, whatever its rows, and 128 rows, a tile of products, above. Of more than
1,536 tokens a 7B model's products take longer than their launches."""

# (work) -> replays what work has launched.
Capture = Callable[[Callable[[], None]], Callable[[], None]]


class Buffers(NamedTuple):
    """Holds what graphs read and write, at the same addresses in every replay.

    Attributes:
        hidden_TC: the residual stream.
        cos_TD, sin_TD: the rotary embedding.
        attention_TX: the result of a layer's attention, [T, h D of the queries], maybe in float8.
        heads_ThD: a layer's queries, keys and values, rotated.
    """

    hidden_TC: torch.Tensor
    cos_TD: torch.Tensor
    sin_TD: torch.Tensor
    attention_TX: Activations
    heads_ThD: torch.Tensor

    @classmethod
    def zeros(
        cls,
        num_tokens: int,
        hidden_size: int,
        heads: tuple[int, int, int],
        *,
        device: torch.device,
        dtype: torch.dtype,
        is_fp8: bool,
    ) -> Self:
        """Make the buffers of a network.

        Args:
            heads: the number of query heads, that of key/value heads, and head_dim.
            is_fp8: attention is rounded to float8.
        """
        make = partial(torch.zeros, device=device, dtype=dtype)
        num_heads, num_kv, dim = heads
        plain_TX = make(num_tokens, num_heads * dim)
        attention: Activations = plain_TX
        if is_fp8:
            scale_T1 = make(num_tokens, 1, dtype=torch.float32)
            attention = RoundedRows(plain_TX.to(FP8), scale_T1)
        cos_TD, sin_TD = make(num_tokens, dim), make(num_tokens, dim)
        heads_ThD = make(num_tokens, num_heads + 2 * num_kv, dim)
        return cls(make(num_tokens, hidden_size), cos_TD, sin_TD, attention, heads_ThD)

    def first(self, num_tokens: int) -> "Buffers":
        """Give views of the first rows."""
        attention = self.attention_TX
        rows = (
            attention[:num_tokens]
            if isinstance(attention, torch.Tensor)
            else RoundedRows(*(part[:num_tokens] for part in attention))
        )
        hidden, cos, sin, heads = (
            x[:num_tokens] for x in (self.hidden_TC, self.cos_TD, self.sin_TD, self.heads_ThD)
        )
        return Buffers(hidden, cos, sin, rows, heads)


# What is launched before, between and behind the attentions of a network, over some buffers.
Piece = Callable[[Buffers], None]


class GraphedPass:
    """Runs the pieces of one forward pass over its rows of the buffers.

    Args:
        buffers: views of the batch's rows.
        replays: one for each piece, of the bucket.
    """

    def __init__(self, buffers: Buffers, replays: Sequence[Callable[[], None]]) -> None:
        self.buffers, self._replays = buffers, replays

    def begin(self, hidden_TC: torch.Tensor, cos_TD: torch.Tensor, sin_TD: torch.Tensor) -> None:
        """Copy in what a pass begins with."""
        for target, source in zip(self.buffers, (hidden_TC, cos_TD, sin_TD), strict=False):
            assert isinstance(target, torch.Tensor)
            target.copy_(source)

    def put(self, attention_TX: Activations) -> None:
        """Copy in what attention has computed."""
        target = self.buffers.attention_TX
        if isinstance(target, torch.Tensor):
            assert isinstance(attention_TX, torch.Tensor)
            target.copy_(attention_TX)
            return
        assert isinstance(attention_TX, RoundedRows)
        for to, part in zip(target, attention_TX, strict=True):
            to.copy_(part)

    def replay(self, piece: int) -> None:
        self._replays[piece]()


class TokenGraphs:
    """Holds the graphs of all pieces of a network for every bucket.

    Args:
        buffers: have the rows of the largest bucket, zeros.
        pieces: are run in turn, an attention between each two.
        capture: makes a graph of what a piece launches.
        buckets: numbers of tokens, ascending.
    """

    def __init__(
        self,
        buffers: Buffers,
        pieces: Sequence[Piece],
        capture: Capture,
        buckets: Sequence[int] = BUCKETS,
    ) -> None:
        self._buffers, self._is_taken = buffers, False
        self._replays: dict[int, list[Callable[[], None]]] = {}
        for bucket in reversed(buckets):  # the smaller find room in what the largest has taken
            views = buffers.first(bucket)
            self._replays[bucket] = [capture(partial(piece, views)) for piece in pieces]
        self._buckets = tuple(buckets)

    @contextmanager
    def taken(self, num_tokens: int) -> Iterator[GraphedPass | None]:
        """Lend the buffers to one pass; None where it has to run without graphs.

        That is where it has no token, more than the largest bucket, or where another pass, which it
        preempts, has taken the buffers and is to go on with them.
        """
        bucket = next((size for size in self._buckets if 0 < num_tokens <= size), None)
        if bucket is None or self._is_taken:
            yield None
            return
        self._is_taken = True
        try:
            # Rows behind the batch's own would add up what every batch leaves there.
            self._buffers.hidden_TC[num_tokens:bucket].zero_()
            yield GraphedPass(self._buffers.first(num_tokens), self._replays[bucket])
        finally:
            self._is_taken = False


def can_capture(device: torch.device, quantization: str) -> bool:
    """Say whether a network on this device, quantized so, is run as graphs.

    Weights of int8 and int4 are made whole for every product, which takes the device longer than
    the host takes to launch it.
    """
    return device.type == "cuda" and quantization in ("none", "fp8")
