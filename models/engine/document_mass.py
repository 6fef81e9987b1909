"""Turns attention into scores: mass per document, mean over signal tokens, mean or sum of heads.

The mean over signal tokens is arithmetic, as BlockRank and QRRanker have it, or geometric. In the
arithmetic one a document that gets all of one token's attention and none of another's stands as
well as one that gets half of both; in the geometric one each token has its say, as each term has in
BM25 and each token in late interaction.

Axes: H = heads read in a layer, r = signal tokens, N = documents.
"""

from collections.abc import Iterable
from typing import Literal

import torch


def mean_over_tokens(lse_HrN: torch.Tensor) -> torch.Tensor:
    """Average log-sum-exps over signal tokens: [H, 1, N] of [H, r, N].

    document_mass of the result is the geometric mean of the tokens' masses, scaled to sum to 1 over
    the documents; a token's denominator is the same for all of them.
    """
    return lse_HrN.mean(1, keepdim=True)


def document_mass(
    lse_HrN: torch.Tensor, num_documents: int, normalise_over: Literal["documents", "all"]
) -> torch.Tensor:
    """Compute the share of each signal token's attention that falls on each document.

    Args:
        lse_HrN: [H, r, N + C] log-sum-exp over N documents' spans, then over the C spans that make
            up all the token sees (C = 0 for normalise_over = documents).
        num_documents: N.
        normalise_over: says over what the softmax is taken, as in the card.

    Returns:
        [H, r, N] probability mass. Zero throughout where no document has a scored token.
    """
    documents_HrN = lse_HrN[..., :num_documents]
    context = documents_HrN if normalise_over == "documents" else lse_HrN[..., num_documents:]
    total_Hr1 = context.logsumexp(-1, keepdim=True)
    return (documents_HrN - total_Hr1.masked_fill(total_Hr1.isinf(), 0.0)).exp()


def reduce_heads(mass_HrN: Iterable[torch.Tensor], how: Literal["mean", "sum"]) -> torch.Tensor:
    """Reduce [H, r, N] masses, one tensor for each read layer, to the [N] documents' scores."""
    per_head = torch.cat([mass.mean(1) for mass in mass_HrN])  # [H of all layers, N]
    return per_head.mean(0) if how == "mean" else per_head.sum(0)
