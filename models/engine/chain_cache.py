"""Keeps the keys and values of chains, and computes attention to them.

Axes: B = rows, one a chain, S = positions there is room for, T = tokens that are added, R = rows
they are added to, W = tokens of the longest addition, H = query heads, K = key/value heads,
G = query heads that share a key/value head, D = head_dim.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import PretrainedConfig

from blockrank_server.models.checkpoint.model_config import head_shape

# Positions are added in multiples of it.
_BLOCK = 64
_GROWTH = 1.5


@dataclass(frozen=True, slots=True)
class Addition:
    """Says where tokens that are added to rows go.

    Attributes:
        rows_R: the rows; None for the first R.
        row_T, position_T: row and position of each token.
        place_T: which of rows_R that row is.
        turn_T: counts the tokens of the row before it in this addition.
        last_R: the last token of each row.
        mask_R1WS: which keys each token sees.
        num_positions: S of the mask.
    """

    rows_R: torch.Tensor | None
    row_T: torch.Tensor
    position_T: torch.Tensor
    place_T: torch.Tensor
    turn_T: torch.Tensor
    last_R: torch.Tensor
    mask_R1WS: torch.Tensor
    num_positions: int

    @classmethod
    def of(
        cls,
        rows: Sequence[int],
        starts: Sequence[int],
        lengths: Sequence[int],
        device: torch.device,
    ) -> "Addition":
        """Add lengths[i] tokens, at least one, to rows[i] from position starts[i] on."""
        turns = [list(range(length)) for length in lengths]
        columns = [
            list(chain.from_iterable([each] * n for each, n in zip(values, lengths, strict=True)))
            for values in (rows, range(len(rows)), starts)
        ]
        row_T, place_T, start_T, turn_T = torch.tensor(
            [*columns, list(chain.from_iterable(turns))], device=device
        )
        num_positions = max(a + n for a, n in zip(starts, lengths, strict=True))
        last_RW = torch.tensor(starts, device=device)[:, None] + torch.arange(
            max(lengths), device=device
        )
        mask_RWS = torch.arange(num_positions, device=device) <= last_RW[..., None]
        is_front = list(rows) == list(range(len(rows)))
        return cls(
            rows_R=None if is_front else torch.tensor(list(rows), device=device),
            row_T=row_T,
            position_T=start_T + turn_T,
            place_T=place_T,
            turn_T=turn_T,
            last_R=torch.tensor(lengths, device=device).cumsum(0) - 1,
            mask_R1WS=mask_RWS[:, None],
            num_positions=num_positions,
        )


class ChainCache:
    """Keeps keys and values of every layer, in buffers that grow.

    Args:
        num_rows: B.
        num_positions: what each row is to have room for.
    """

    def __init__(
        self,
        config: PretrainedConfig,
        num_rows: int,
        num_positions: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        _, num_kv_heads, head_dim = head_shape(config)
        self._size = _rounded(num_positions)
        shape = (2, num_rows, num_kv_heads, self._size, head_dim)
        # Zeros, because what is masked is multiplied by 0 and must be finite.
        self._layers_2BKSD = [
            torch.zeros(shape, device=device, dtype=dtype) for _ in range(config.num_hidden_layers)
        ]

    def ensure(self, num_positions: int, num_rows: int) -> None:
        """Make room for so many positions in the first rows; the others may be lost."""
        if num_positions <= self._size:
            return
        old, self._size = self._size, _rounded(max(num_positions, int(_GROWTH * self._size)))
        for i, layer in enumerate(self._layers_2BKSD):
            kept = layer[:, :num_rows]
            grown = layer.new_zeros((*kept.shape[:3], self._size, kept.shape[4]))
            grown[:, :, :, :old] = kept
            self._layers_2BKSD[i] = grown

    def spread(self, num_positions: int) -> None:
        """Give every row the first positions of row 0."""
        for layer in self._layers_2BKSD:
            layer[:, 1:, :, :num_positions] = layer[:, :1, :, :num_positions]

    def move(self, source: int, target: int) -> None:
        """Put one row in the place of another."""
        if source != target:
            for layer in self._layers_2BKSD:
                layer[:, target] = layer[:, source]

    def attend(
        self,
        layer: int,
        added: Addition,
        q_THD: torch.Tensor,
        k_TKD: torch.Tensor,
        v_TKD: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """Keep what is added, and return the [T, H, D] attention to it and to what was there."""
        both_2BKSD = self._layers_2BKSD[layer]
        for kept_BKSD, new_TKD in zip(both_2BKSD, (k_TKD, v_TKD), strict=True):
            kept_BKSD[added.row_T, :, added.position_T] = new_TKD
        rows = slice(len(added.last_R)) if added.rows_R is None else added.rows_R
        k_RKSD, v_RKSD = (kept[rows][:, :, : added.num_positions] for kept in both_2BKSD)
        (num_heads, head_dim), num_kv = q_THD.shape[1:], k_TKD.shape[1]
        num_rows, _, width, _ = added.mask_R1WS.shape
        grouped = (num_rows, width, num_kv, num_heads // num_kv, head_dim)
        q_RWHD = q_THD.new_zeros((num_rows, width, num_heads, head_dim))
        q_RWHD[added.place_T, added.turn_T] = q_THD
        # The query heads of a group stand behind one another, as more tokens of one head.
        q_RKGWD = q_RWHD.view(grouped).permute(0, 2, 3, 1, 4)
        mask = added.mask_R1WS.repeat(1, 1, grouped[3], 1)
        heads = scaled_dot_product_attention(
            q_RKGWD.flatten(2, 3), k_RKSD, v_RKSD, attn_mask=mask, scale=scale
        )
        heads_RWKGD = heads.reshape(num_rows, num_kv, grouped[3], width, head_dim).permute(
            0, 3, 1, 2, 4
        )
        return heads_RWKGD[added.place_T, added.turn_T].flatten(1, 2)


def _rounded(num_positions: int) -> int:
    return -(-num_positions // _BLOCK) * _BLOCK
