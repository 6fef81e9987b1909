"""Turns attention into scores, in plain torch: mass per document, reduced over tokens and heads.

The mean over signal tokens is arithmetic, as BlockRank and QRRanker have it, or geometric. In the
arithmetic one a document that gets all of one token's attention and none of another's stands as
well as one that gets half of both; in the geometric one each token has its say, as each term has in
BM25 and each token in late interaction.

Axes: H = heads read in a layer, r = signal tokens of a request, N = its documents.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True, slots=True)
class ScoreRule:
    """Says how log-sum-exps become scores, as a card says it.

    Attributes:
        normalise_over: over what the softmax is taken: documents, or all that a token sees.
        reduce_tokens: the mean over signal tokens.
        reduce_heads: the mean or the sum over the heads of all layers.
    """

    normalise_over: Literal["documents", "all"]
    reduce_tokens: Literal["mean", "geometric_mean"]
    reduce_heads: Literal["mean", "sum"]


def document_mass(lse_HrN: torch.Tensor, num_documents: int, rule: ScoreRule) -> torch.Tensor:
    """Compute the share of each signal token's attention that falls on each document.

    Args:
        lse_HrN: [H, r, N + C] log-sum-exp over N documents' spans, then over the C spans that make
            up all the token sees (C = 0 for normalise_over = documents).
        num_documents: N.
        rule: says over what is normalised, and which mean is taken over signal tokens.

    Returns:
        [H, r, N] probability mass; [H, 1, N] for the geometric mean of the tokens' masses, scaled
        to sum to 1 (a token's denominator is the same for all documents). Zero throughout where no
        document has a scored token.
    """
    return log_document_mass(lse_HrN, num_documents, rule).exp()


def log_document_mass(lse_HrN: torch.Tensor, num_documents: int, rule: ScoreRule) -> torch.Tensor:
    """Compute the natural logarithm of what document_mass gives; -inf where that is 0."""
    if rule.reduce_tokens == "geometric_mean":
        lse_HrN = lse_HrN.mean(1, keepdim=True)
    documents_HrN = lse_HrN[..., :num_documents]
    is_over_all = rule.normalise_over == "all"
    context = lse_HrN[..., num_documents:] if is_over_all else documents_HrN
    total_Hr1 = context.logsumexp(-1, keepdim=True)
    return documents_HrN - total_Hr1.masked_fill(total_Hr1.isinf(), 0.0)


def document_scores(
    lse: Sequence[Sequence[torch.Tensor]], num_documents: Sequence[int], rule: ScoreRule
) -> torch.Tensor:
    """Reduce what the read layers saw to the scores of all documents of a batch.

    Args:
        lse: of each layer, [H, r, N + C] of each request, as document_mass takes it.
        num_documents: N of each request.
        rule: see ScoreRule.

    Returns:
        [sum of N + requests] fp32: the scores, request after request, then the list_level of each
        request, which has no gradient.
    """
    scores, levels = [], []
    for layers, num in zip(zip(*lse, strict=True), num_documents, strict=True):
        per_head = torch.cat([document_mass(each, num, rule).mean(1) for each in layers])
        scores.append(per_head.mean(0) if rule.reduce_heads == "mean" else per_head.sum(0))
        levels.append(list_level(layers, num, rule))
    return torch.cat([*scores, torch.stack(levels)])


def list_level(layers: Sequence[torch.Tensor], num_documents: int, rule: ScoreRule) -> torch.Tensor:
    """Return how much attention the documents of a list draw on the whole: what a share hides.

    That is the log-mean-exp over the documents, and its mean over heads and signal tokens; tokens
    are put together before it where the rule takes their geometric mean. A token that sees no key
    of any document counts as 0.

    Args:
        layers: of each layer, [H, r, N + C], as document_mass takes it.
    """
    rows = []
    for each in layers:
        lse_HrN = each.detach()[..., :num_documents]
        if rule.reduce_tokens == "geometric_mean":
            lse_HrN = lse_HrN.mean(1, keepdim=True)
        rows.append(lse_HrN.logsumexp(-1).flatten())
    row = torch.cat(rows)
    return torch.where(row.isinf(), 0.0, row - math.log(num_documents)).mean()
