"""Computes the causal attention of documents in blocks of queries, as two matrix products each.

Torch's fused attention does the same in blocks of 32 queries, with the keys that they do not see,
too. On the CPU, in bfloat16, that takes half as long again for documents of 180 tokens and nearly
twice as long for those of 400 (loadtests/results/LOG.md).

Axes: B = documents, L = tokens of the longest, F = keys before them that all see, S = F + L,
H = query heads, K = key/value heads, G = H / K, D = head_dim.
"""

import math
from collections.abc import Iterator

import torch

from blockrank_server.kernels.scaled_products import scaled_products

_BLOCK = 64
# Products of queries and keys that are written out at a time: about a core's second-level cache.
_MAX_PRODUCTS = 1 << 19
# Of fewer tokens torch's fused attention is as fast.
_MIN_LENGTH = {torch.float32: 129, torch.bfloat16: 16}


def causal_attention(
    q_BLHD: torch.Tensor, k_BSKD: torch.Tensor, v_BSKD: torch.Tensor, scale: float
) -> torch.Tensor:
    """Compute [B, L, H, D], in which query i sees the keys up to F + i. It has no gradient.

    Args:
        q_BLHD: queries, fp32 or bf16.
        k_BSKD: keys of the same dtype; H is a multiple of K.
        v_BSKD: values.
        scale: multiplies q . k.
    """
    _, length, num_heads, dim = q_BLHD.shape
    num_keys, num_kv = k_BSKD.shape[1:3]
    later_ii = torch.ones(min(_BLOCK, length), min(_BLOCK, length), dtype=torch.bool).triu_(1)
    out_BLHD = torch.empty_like(q_BLHD)
    for some in _documents(q_BLHD, num_keys):
        q_bLKGD = torch.unflatten(q_BLHD[some], 2, (num_kv, -1))
        keys, values = (_heads_first(x[some]) for x in (k_BSKD, v_BSKD))
        for start in range(0, length, _BLOCK):
            stop = min(start + _BLOCK, length)
            seen = num_keys - length + stop
            q = q_bLKGD[:, start:stop].permute(0, 2, 3, 1, 4).reshape(len(keys), -1, dim)
            products = scaled_products(q, keys[:, :seen], scale)  # [b * K, G * i, seen]
            own = torch.unflatten(products, 1, (-1, stop - start))[..., seen - (stop - start) :]
            own.masked_fill_(later_ii[: stop - start, : stop - start], -torch.inf)
            out = torch.bmm(torch.softmax(products, -1), values[:, :seen])
            out = out.view(-1, num_kv, num_heads // num_kv, stop - start, dim)
            out_BLHD[some, start:stop] = out.permute(0, 3, 1, 2, 4).flatten(2, 3)
    return out_BLHD


def is_faster(q_BLHD: torch.Tensor) -> bool:
    """Say whether this beats torch's fused attention, and may be used."""
    least = _MIN_LENGTH.get(q_BLHD.dtype, math.inf)
    has_gradient = q_BLHD.requires_grad
    return q_BLHD.device.type == "cpu" and not has_gradient and q_BLHD.shape[1] >= least


def _documents(q_BLHD: torch.Tensor, num_keys: int) -> Iterator[slice]:
    """Yield as many documents at a time as fit."""
    num, length, num_heads, _ = q_BLHD.shape
    step = max(1, _MAX_PRODUCTS // (num_heads * min(_BLOCK, length) * num_keys))
    for start in range(0, num, step):
        yield slice(start, start + step)


def _heads_first(x_bSKD: torch.Tensor) -> torch.Tensor:
    """Give [b * K, S, D], each head's rows side by side."""
    return x_bSKD.transpose(1, 2).reshape(-1, x_bSKD.shape[1], x_bSKD.shape[3])
