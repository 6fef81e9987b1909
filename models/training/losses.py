"""Computes what is minimised, for one list. N = documents, A = answer tokens, V = vocabulary."""

from typing import Literal

import torch
from torch.nn.functional import cross_entropy

# A document no token of which is attended to has mass 0; its logarithm is cut here.
_LEAST_MASS = 1e-30


def document_logits(
    scores_N: torch.Tensor, temperature: float, kind: Literal["mass", "log_mass", "log_sum_exp"]
) -> torch.Tensor:
    """Return the [N] logits of the documents.

    Args:
        scores_N: [N] the scores as served; with log_sum_exp the documents' log-sum-exps.
        temperature: divides what kind says.
        kind: "mass" and "log_sum_exp" take scores_N, "log_mass" its logarithm.
    """
    if kind == "log_mass":
        scores_N = scores_N.clamp_min(_LEAST_MASS).log()
    return scores_N / temperature


def contrastive_loss(
    logits_N: torch.Tensor, positive_N: torch.Tensor, anchor: float | None = None
) -> torch.Tensor:
    """Return InfoNCE with several positives: -log of the softmax's share of the positives together.

    Args:
        logits_N: [N] the documents' logits.
        positive_N: [N] bool, of which at least one is true, or none where there is an anchor.
        anchor: the logit of an imagined document, which is the positive of a list without one.

    Source:
        BlockRank, arXiv:2510.05396, section 3.2; the anchor is that of calibrated softmax (Yan et
        al., Scale Calibration of Deep Ranking Models, KDD 2022).
    """
    if anchor is not None:
        logits_N = torch.cat([logits_N, logits_N.new_full((1,), anchor)])
        positive_N = torch.cat([positive_N, ~positive_N.any()[None]])
    positives_N = logits_N.masked_fill(~positive_N, -torch.inf)
    return logits_N.logsumexp(0) - positives_N.logsumexp(0)


def distillation_loss(
    logits_N: torch.Tensor, teacher_N: torch.Tensor, teacher_temperature: float
) -> torch.Tensor:
    """Return KL(softmax(teacher / teacher_temperature) || softmax(logits)).

    Args:
        logits_N: [N] the documents' logits.
        teacher_N: [N] the teacher's scores, on any scale.
        teacher_temperature: divides the teacher's scores.
    """
    target_N = (teacher_N / teacher_temperature).log_softmax(0)
    return (target_N.exp() * (target_N - logits_N.log_softmax(0))).sum()


def answer_loss(logits_AV: torch.Tensor, answer_A: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of the answer's tokens.

    Args:
        logits_AV: [A, V] logits at the position before each token of the answer.
        answer_A: [A] int64 token ids.
    """
    wide = torch.promote_types(logits_AV.dtype, torch.float32)
    return cross_entropy(logits_AV.to(wide), answer_A)
