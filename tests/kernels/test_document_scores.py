"""How attention becomes a score: in numbers that fit on a page, and in one kernel for a batch."""

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any, get_args, get_type_hints

import pytest
import torch

from blockrank_server.kernels.document_scores import (
    ScoreRule,
    document_mass,
    document_scores,
    list_level,
)

# One head, two signal tokens, three documents: the first token is sure of document 0, the second
# prefers document 1 a little.
MASS = torch.tensor([[[0.98, 0.01, 0.01], [0.20, 0.45, 0.35]]])
GEOMETRIC = ScoreRule("documents", "geometric_mean", "mean")
KINDS = get_type_hints(ScoreRule)
RULES = [
    ScoreRule(over, tokens, heads)
    for over in get_args(KINDS["normalise_over"])
    for tokens in get_args(KINDS["reduce_tokens"])
    for heads in get_args(KINDS["reduce_heads"])
]


def test_geometric_mean_is_that_of_the_masses_scaled_to_one() -> None:
    denominators = torch.tensor([[[3.0], [-2.0]]])  # of each token; must not matter
    found = document_mass(MASS.log() + denominators, 3, GEOMETRIC)
    expected = MASS.prod(1).sqrt()
    torch.testing.assert_close(found[:, 0], expected / expected.sum())


def test_a_document_without_scored_tokens_has_no_share_and_a_finite_gradient() -> None:
    lse = MASS.log()
    lse[..., 1] = -torch.inf
    lse.requires_grad_()
    found = document_mass(lse, 3, GEOMETRIC)
    assert found[0, 0, 1] == 0
    assert found.sum().item() == pytest.approx(1)
    (gradient,) = torch.autograd.grad(found[0, 0, 0], lse)
    assert gradient.isfinite().all()


def test_no_scored_token_at_all_is_zero_throughout() -> None:
    nothing = torch.full((1, 2, 3), -torch.inf)
    assert not document_mass(nothing, 3, GEOMETRIC).any()


def test_heads_of_all_layers_count_alike() -> None:
    layers = [[MASS.log()], [MASS.flip(2).log().repeat(3, 1, 1)]]
    once, thrice = MASS[0].mean(0), 3 * MASS.flip(2)[0].mean(0)
    found = document_scores(layers, [3], ScoreRule("documents", "mean", "sum"))
    torch.testing.assert_close(found[:3], once + thrice)
    found = document_scores(layers, [3], ScoreRule("documents", "mean", "mean"))
    torch.testing.assert_close(found[:3], (once + thrice) / 4)


@pytest.mark.parametrize("tokens", ["mean", "geometric_mean"])
def test_the_level_is_the_mean_of_what_a_head_and_token_pay_a_document(tokens: Any) -> None:
    """Two heads of one layer and one of another; more attention to all is a higher level."""
    one, two = torch.randn(2, 4, 3), torch.randn(1, 4, 3)
    rows = torch.cat([one, two])
    if tokens == "geometric_mean":
        rows = rows.mean(1, keepdim=True)
    expected = (rows.exp().mean(-1)).log().mean()
    rule = ScoreRule("documents", tokens, "sum")
    torch.testing.assert_close(document_scores([[one], [two]], [3], rule)[3], expected)
    more = document_scores([[one + 2.5], [two + 2.5]], [3], rule)
    torch.testing.assert_close(more[3], expected + 2.5)
    torch.testing.assert_close(more[:3], document_scores([[one], [two]], [3], rule)[:3])


def test_with_one_head_and_token_a_score_and_the_level_give_the_log_sum_exp_back() -> None:
    lse = torch.randn(1, 1, 5)
    found = document_scores([[lse]], [5], GEOMETRIC)
    torch.testing.assert_close((5 * found[:5]).log() + found[5], lse[0, 0])


def test_the_level_has_no_gradient() -> None:
    lse = torch.full((1, 2, 3), -torch.inf).requires_grad_()
    assert list_level([lse], 3, GEOMETRIC) == 0
    (gradient,) = torch.autograd.grad(document_scores([[lse]], [3], GEOMETRIC)[:2].sum(), lse)
    assert not list_level([lse], 3, GEOMETRIC).requires_grad
    assert gradient.shape == lse.shape


def readings(
    layers: Sequence[int], requests: Sequence[tuple[int, int]], num_context: int
) -> list[list[torch.Tensor]]:
    """[heads, signal tokens, documents + context] of each layer and request; some without keys."""
    generator = torch.Generator().manual_seed(len(layers))
    found = []
    for num_heads in layers:
        row = []
        for num_signal, num_documents in requests:
            shape = num_heads, num_signal, num_documents + num_context
            lse = 5 * torch.randn(shape, generator=generator)
            lse[..., : num_documents // 3] = -torch.inf
            row.append(lse)
        found.append(row)
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: "-".join(str(x) for x in astuple(rule)))
@pytest.mark.parametrize(
    ("layers", "requests"),
    [
        pytest.param([4], [(2, 3)], id="one"),
        pytest.param([32], [(2, 130), (40, 7), (1, 300)], id="more-than-a-step"),
        pytest.param([1, 3, 2], [(5, 20), (3, 1)], id="layers"),
    ],
)
def test_the_kernel_scores_as_torch_does(
    layers: list[int], requests: list[tuple[int, int]], rule: ScoreRule, kernels_on: Any
) -> None:
    num_context = 3 if rule.normalise_over == "all" else 0
    lse, num_documents = readings(layers, requests, num_context), [n for _, n in requests]
    expected = document_scores(lse, num_documents, rule)
    there = [[each.to(kernels_on.device) for each in row] for row in lse]
    found = kernels_on.backend.document_scores(there, num_documents, rule)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: "-".join(str(x) for x in astuple(rule)))
def test_a_request_without_scored_tokens_scores_zero_and_its_mate_as_alone(
    rule: ScoreRule, kernels_on: Any
) -> None:
    num_context = 2 if rule.normalise_over == "all" else 0
    ((lse,),) = readings([3], [(2, 9)], num_context)
    nothing = torch.full((3, 2, 4 + num_context), -torch.inf)
    alone, both = (
        kernels_on.backend.document_scores(
            [[each.to(kernels_on.device) for each in row]], [9, 4][: len(row)], rule
        ).cpu()
        for row in ([lse], [lse, nothing])
    )
    assert torch.equal(both[:9], alone[:9])
    assert torch.equal(both[13], alone[9])
    assert not both[9:13].any()
    assert both[14] == 0


def test_readings_that_do_not_lie_together_are_refused(kernels_on: Any) -> None:
    lse = torch.zeros(2, 3, 8, device=kernels_on.device)[..., ::2]
    with pytest.raises(ValueError, match="readings must be contiguous float32"):
        kernels_on.backend.document_scores([[lse]], [4], RULES[0])
