"""Multiplies queries by keys and a scale, where the scale rounds least.

Axes: B = matrices, M = queries, S = keys, D = head_dim.
"""

import math

import torch


def scaled_products(q_BMD: torch.Tensor, k_BSD: torch.Tensor, scale: float) -> torch.Tensor:
    """Compute [B, M, S]: the products of queries and keys, times scale."""
    if math.frexp(scale)[0] == 0.5:  # a power of two: queries stay exact
        return torch.bmm(q_BMD * scale, k_BSD.transpose(1, 2))
    return torch.bmm(q_BMD, k_BSD.transpose(1, 2)) * scale
