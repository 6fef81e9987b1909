"""How attention becomes a score, in numbers that fit on a page."""

import pytest
import torch

from blockrank_server.models.engine.document_mass import document_mass, mean_over_tokens

# One head, two signal tokens, three documents: the first token is sure of document 0, the second
# prefers document 1 a little.
MASS = torch.tensor([[[0.98, 0.01, 0.01], [0.20, 0.45, 0.35]]])


def test_geometric_mean_is_that_of_the_masses_scaled_to_one() -> None:
    denominators = torch.tensor([[[3.0], [-2.0]]])  # of each token; must not matter
    found = document_mass(mean_over_tokens(MASS.log() + denominators), 3, "documents")
    expected = MASS.prod(1).sqrt()
    torch.testing.assert_close(found[:, 0], expected / expected.sum())


def test_a_document_without_scored_tokens_has_no_share_and_a_finite_gradient() -> None:
    lse = MASS.log()
    lse[..., 1] = -torch.inf
    lse.requires_grad_()
    found = document_mass(mean_over_tokens(lse), 3, "documents")
    assert found[0, 0, 1] == 0
    assert found.sum().item() == pytest.approx(1)
    (gradient,) = torch.autograd.grad(found[0, 0, 0], lse)
    assert gradient.isfinite().all()


def test_no_scored_token_at_all_is_zero_throughout() -> None:
    nothing = torch.full((1, 2, 3), -torch.inf)
    assert not document_mass(mean_over_tokens(nothing), 3, "documents").any()
