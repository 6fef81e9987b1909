"""Splits each document's score among the parts of the document, in plain torch: no launch is asked
for unless a caller wants to know where a score comes from.

A score is a mean, over heads and signal tokens, of the mass m that falls on the document, and the
mass that falls on a part is the sum of what falls on its tokens. What is a part's share of a mean?
Both means are homogeneous of degree one in the masses, so that Euler's theorem splits them, and
leaves nothing over: each part gets mass x (derivative of the score by that mass), summed over heads
and signal tokens, where what all documents have in common, the normaliser, is held fixed.

For the arithmetic mean that is the mean of the masses on the part. For the geometric mean
s = exp(mean_t log m_t) it is s x mean_t (mass on the part / m_t): each signal token has the same
say, as it has in the score, and gives it to the parts in the ratio in which it looks at them.

Both are sums over signal tokens, so that a part's share is the sum of what it owes to each of them.
With the arithmetic mean a signal token counts by the mass that it puts on the document; with the
geometric one all of them count alike (a part that every one of them looks at is what makes such a
score), and what differs from token to token is where in the document each of them looks.

Axes: H = heads read in a layer, r = signal tokens of a request, N = its documents, C = spans of
what its tokens see besides, M = parts of its documents.
"""

from collections.abc import Sequence

import torch

from blockrank_server.kernels.document_scores import ScoreRule, log_document_mass
from blockrank_server.kernels.span_lse import segment_lse


def token_shares(
    lse: Sequence[torch.Tensor],
    part_lse: Sequence[torch.Tensor],
    owner_M: torch.Tensor,
    num_documents: int,
    rule: ScoreRule,
) -> torch.Tensor:
    """Compute the share that each part has, by each signal token, in the score of its document.

    It is done in logarithms: a document whose score rounds to 0 has shares, too.

    Args:
        lse: of each layer, [H, r, N + C] log-sum-exps, as document_mass takes them.
        part_lse: of each layer, [H, r, M] log-sum-exps over the parts, which cover the scored
            tokens of their document, each of them once.
        owner_M: int64, the document of each part.
        num_documents: N.
        rule: the one that makes the scores.

    Returns:
        [r, M] fp32, which sum to 1 over the signal tokens and the parts of a document; 0 for a part
        without keys, and throughout a document that has none.
    """
    log_mass = torch.cat([log_document_mass(each, num_documents, rule) for each in lse])
    part_HrM = torch.cat(list(part_lse))
    # By the sum of the parts, not by the document's own: what the two round apart is left over.
    whole_HrN = segment_lse(part_HrM, owner_M, num_documents)
    within_HrM = _ratio(part_HrM, whole_HrN[..., owner_M])
    if rule.reduce_tokens == "geometric_mean":
        within_HrM = within_HrM / within_HrM.shape[1]
    # How much of the document's score each head has, or each signal token of each head.
    weight = _ratio(log_mass, log_mass.flatten(0, 1).logsumexp(0))
    return (weight[..., owner_M] * within_HrM).sum(0)


def _ratio(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """Return exp(part - whole); 0 where the whole is nothing."""
    return (part - whole.masked_fill(whole.isinf(), 0.0)).exp()
