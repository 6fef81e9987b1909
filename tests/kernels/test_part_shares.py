"""What a document's parts have in its score, against the definition and by derivatives."""

from itertools import product
from typing import Literal, get_args

import numpy as np
import pytest
import torch

from blockrank_server.kernels.document_scores import ScoreRule, document_scores
from blockrank_server.kernels.part_shares import token_shares

Over = Literal["documents", "all"]
Tokens = Literal["mean", "geometric_mean"]
Heads = Literal["mean", "sum"]
RULES = [
    ScoreRule(over, tokens, heads)
    for over, tokens, heads in product(*map(get_args, (Over, Tokens, Heads)))
    if tokens == "mean" or over == "documents"
]
OWNERS = [0, 0, 0, 1, 2, 2, 2, 2, 2]
NUM_DOCUMENTS, LAYERS, NUM_SIGNAL = 3, (2, 1), 5
EVERY_RULE = pytest.mark.parametrize("rule", RULES, ids=str)


def drawn(rule: ScoreRule, seed: int, scale: float = 3.0) -> list[torch.Tensor]:
    """[H, r, M + C] of each layer: parts, then what is seen besides the documents."""
    rng = np.random.default_rng(seed)
    num_spans = len(OWNERS) + (2 if rule.normalise_over == "all" else 0)
    shapes = [(num_heads, NUM_SIGNAL, num_spans) for num_heads in LAYERS]
    return [torch.from_numpy(scale * rng.standard_normal(shape)) for shape in shapes]


def with_documents(parts: list[torch.Tensor], rule: ScoreRule) -> list[torch.Tensor]:
    """What document_scores takes: the parts put together, and all that is seen."""
    num_parts, found = len(OWNERS), []
    for each in parts:
        rows = [
            each[..., [m for m in range(num_parts) if OWNERS[m] == d]].logsumexp(-1)
            for d in range(NUM_DOCUMENTS)
        ]
        seen = list(each.unbind(-1)) if rule.normalise_over == "all" else []
        found.append(torch.stack([*rows, *seen], -1))
    return found


def shares_of(parts: list[torch.Tensor], rule: ScoreRule) -> torch.Tensor:
    return token_shares(
        with_documents(parts, rule),
        [each[..., : len(OWNERS)] for each in parts],
        torch.tensor(OWNERS),
        NUM_DOCUMENTS,
        rule,
    ).sum(0)


def scores_of(parts: list[torch.Tensor], rule: ScoreRule) -> torch.Tensor:
    lse = [[each] for each in with_documents(parts, rule)]
    return document_scores(lse, [NUM_DOCUMENTS], rule)[:NUM_DOCUMENTS]


@EVERY_RULE
def test_the_parts_add_up_to_the_documents_score(rule: ScoreRule) -> None:
    parts = [each.float() for each in drawn(rule, 1)]
    scores = scores_of(parts, rule)
    split = shares_of(parts, rule) * scores[OWNERS]
    added = torch.zeros(NUM_DOCUMENTS).index_add(0, torch.tensor(OWNERS), split)
    torch.testing.assert_close(added, scores, rtol=1e-6, atol=1e-6)


@EVERY_RULE
def test_what_each_signal_token_gives_adds_up_to_the_parts(rule: ScoreRule) -> None:
    parts = drawn(rule, 7)
    lse, own = with_documents(parts, rule), [each[..., : len(OWNERS)] for each in parts]
    found_rM = token_shares(lse, own, torch.tensor(OWNERS), NUM_DOCUMENTS, rule)
    torch.testing.assert_close(found_rM.sum(0), shares_of(parts, rule))
    of_documents_rN = torch.zeros(NUM_SIGNAL, NUM_DOCUMENTS, dtype=torch.float64).index_add(
        1, torch.tensor(OWNERS), found_rM
    )
    if rule.reduce_tokens == "geometric_mean":  # each token has the same say
        expected = torch.full_like(of_documents_rN, 1 / NUM_SIGNAL)
    else:  # as much as it adds to the mean
        given = [each.exp() for each in lse]
        if rule.normalise_over == "documents":
            shares = [each / each.sum(-1, keepdim=True) for each in given]
        else:
            shares = [each / each[..., NUM_DOCUMENTS:].sum(-1, keepdim=True) for each in given]
        mass_rN = sum(each[..., :NUM_DOCUMENTS].sum(0) for each in shares)
        assert isinstance(mass_rN, torch.Tensor)
        expected = mass_rN / mass_rN.sum(0)
    torch.testing.assert_close(of_documents_rN, expected)


@EVERY_RULE
def test_a_part_alone_in_its_document_has_all_of_its_score(rule: ScoreRule) -> None:
    assert shares_of(drawn(rule, 2), rule)[OWNERS.index(1)].item() == pytest.approx(1, abs=1e-12)


@EVERY_RULE
def test_shares_are_those_of_the_definition(rule: ScoreRule) -> None:
    """Head by head and token by token, in float64."""
    parts = drawn(rule, 3)
    expected = np.zeros(len(OWNERS))
    for each in parts:
        for head in each.exp().numpy():
            own = [np.flatnonzero(np.array(OWNERS) == d) for d in range(NUM_DOCUMENTS)]
            mass = np.stack([head[:, each].sum(1) for each in own], 1)
            if rule.reduce_tokens == "geometric_mean":
                score = np.exp(np.log(mass).mean(0))
                score /= score.sum()
                within = head[:, : len(OWNERS)] / mass[:, OWNERS]
                expected += score[OWNERS] * within.mean(0)
            else:
                total = head.sum(1, keepdims=True)
                if rule.normalise_over == "documents":
                    total = head[:, : len(OWNERS)].sum(1, keepdims=True)
                expected += (head[:, : len(OWNERS)] / total).mean(0)
    whole = np.array([expected[np.array(OWNERS) == d].sum() for d in range(NUM_DOCUMENTS)])
    np.testing.assert_allclose(shares_of(parts, rule), expected / whole[OWNERS], atol=1e-12)


def test_a_share_is_how_much_the_geometric_score_moves_with_the_part() -> None:
    """The derivative of log(score x normaliser) by the log of the part's masses."""
    rule = ScoreRule("documents", "geometric_mean", "mean")
    part_rM = drawn(rule, 4)[1][0].requires_grad_()
    for document in range(NUM_DOCUMENTS):
        mine = [m for m, owner in enumerate(OWNERS) if owner == document]
        [moved_rM] = torch.autograd.grad(part_rM[:, mine].logsumexp(-1).mean(), part_rM)
        found = token_shares(
            with_documents([part_rM[None]], rule), [part_rM[None]], torch.tensor(OWNERS), 3, rule
        ).sum(0)
        torch.testing.assert_close(found[mine], moved_rM.sum(0)[mine])


@EVERY_RULE
def test_a_document_whose_score_rounds_to_nothing_has_shares(rule: ScoreRule) -> None:
    parts = drawn(rule, 5)
    for each in parts:
        each[..., [m for m, owner in enumerate(OWNERS) if owner == 2]] -= 900
    assert scores_of([each.float() for each in parts], rule)[2] == 0
    found = shares_of(parts, rule)[[m for m, owner in enumerate(OWNERS) if owner == 2]]
    assert found.sum().item() == pytest.approx(1, abs=1e-12)
    assert found.min() > 0


@EVERY_RULE
def test_what_has_no_keys_has_no_share(rule: ScoreRule) -> None:
    """A part of no tokens, and a document of none."""
    parts = drawn(rule, 6)
    for each in parts:
        each[..., [0, 3]] = -torch.inf
    found = shares_of(parts, rule)
    assert found[0] == found[3] == 0
    assert found[1:3].sum().item() == pytest.approx(1, abs=1e-12)
    assert found.isfinite().all()
