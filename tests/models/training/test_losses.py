"""Losses of one list, against their formulas."""

import math

import pytest
import torch

from blockrank_server.models.training.losses import (
    contrastive_loss,
    distillation_loss,
    document_logits,
)

SCORES = torch.tensor([0.5, 0.2, 0.3, 0.0])


def test_contrastive_loss_is_minus_the_log_of_the_positives_share() -> None:
    logits = document_logits(SCORES, 0.1, "mass")
    positive = torch.tensor([False, True, True, False])
    weights = [math.exp(score / 0.1) for score in SCORES.tolist()]
    expected = -math.log((weights[1] + weights[2]) / sum(weights))
    assert contrastive_loss(logits, positive).item() == pytest.approx(expected, rel=1e-6)


def test_of_log_mass_at_temperature_one_the_share_is_the_mass() -> None:
    logits = document_logits(SCORES, 1.0, "log_mass")
    positive = torch.tensor([True, False, True, False])
    assert contrastive_loss(logits, positive).item() == pytest.approx(-math.log(0.8), rel=1e-6)


def test_a_positive_without_mass_has_a_finite_loss_and_gradient() -> None:
    scores = SCORES.clone().requires_grad_()
    positive = torch.tensor([False, False, False, True])
    loss = contrastive_loss(document_logits(scores, 1.0, "log_mass"), positive)
    torch.autograd.backward(loss)
    assert math.isfinite(loss.item())
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_distillation_is_the_divergence_from_the_teacher() -> None:
    logits = torch.tensor([1.0, 2.0, 0.0])
    teacher = torch.tensor([4.0, 0.0, 2.0])
    p, q = (teacher / 2).softmax(0), logits.softmax(0)
    expected = sum(a * math.log(a / b) for a, b in zip(p.tolist(), q.tolist(), strict=True))
    assert distillation_loss(logits, teacher, 2.0).item() == pytest.approx(expected, rel=1e-5)
    assert distillation_loss(logits, 2 * logits + 3, 2.0).item() == pytest.approx(0, abs=1e-6)


def test_an_anchor_is_one_more_irrelevant_document() -> None:
    logits = torch.tensor([2.0, 1.0, 0.5])
    positive = torch.tensor([True, False, False])
    with_it = torch.cat([logits, torch.tensor([1.5])])
    found = contrastive_loss(logits, positive, 1.5)
    assert found.item() == pytest.approx(-math.log(with_it.softmax(0)[0].item()), rel=1e-6)


def test_the_anchor_is_the_answer_of_a_list_without_one() -> None:
    logits = torch.tensor([2.0, 1.0, 0.5])
    with_it = torch.cat([logits, torch.tensor([1.5])])
    found = contrastive_loss(logits, torch.zeros(3, dtype=torch.bool), 1.5)
    assert found.item() == pytest.approx(-math.log(with_it.softmax(0)[3].item()), rel=1e-6)
