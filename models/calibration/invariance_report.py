"""Writes in Markdown what scores owe to the rest of their list, beside what is aimed at."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from blockrank_server.models.calibration.fit import Array
from blockrank_server.models.calibration.invariance import NUM_FEW, ListInvariance

_NUM_RESAMPLES = 1000
# Makes one number of what was measured of some lists.
Statistic = Callable[[Sequence[ListInvariance]], float]


def invariance_markdown(lists: Sequence[ListInvariance], num_shuffles: int) -> str:
    """Write a table of shifts, one of merging, and a line on the order; a column for each set.

    Intervals hold 95 of 100 resamples of the lists.
    """
    names = sorted({x.group for x in lists})
    groups = {name: [x for x in lists if x.group == name] for name in names}
    counted = [f"{name} ({len(own)})" for name, own in groups.items()]
    shift_heads = [
        *(f"lists: {len(lists)}", "sd of the score (goal: 0.15)", "mean shift (goal: 0.03)"),
        *("sd of p", *(f"sd, {name}" for name in counted)),
    ]
    loss_heads = [
        *("parts merged", "nDCG@10 lost by logit (goal: 0.005 at 4 x 25)", "by share"),
        *(f"by logit, {name}" for name in counted),
    ]
    return "\n".join(
        [
            *_table(shift_heads, (_shift_row(x, lists, groups.values()) for x in lists[0].shifts)),
            "",
            *_table(loss_heads, (_loss_row(x, lists, groups.values()) for x in lists[0].losses)),
            "",
            _order_line(lists, num_shuffles),
        ]
    )


def _shift_row(
    name: str, lists: Sequence[ListInvariance], groups: Iterable[Sequence[ListInvariance]]
) -> list[str]:
    def sd(of: Sequence[ListInvariance]) -> float:
        return float(_scores(of, name).std())

    def mean(of: Sequence[ListInvariance]) -> float:
        return float(_scores(of, name).mean())

    def sd_of_p(of: Sequence[ListInvariance]) -> float:
        return float(np.concatenate([x.shifts[name].probabilities for x in of]).std())

    alone = [f"{sd(own):.3f}" for own in groups]
    return [name, _sure(lists, sd, ".3f"), _sure(lists, mean, "+.3f"), _sure(lists, sd_of_p, ".3f"),
            *alone]  # fmt: skip


def _loss_row(
    name: str, lists: Sequence[ListInvariance], groups: Iterable[Sequence[ListInvariance]]
) -> list[str]:
    def by_score(of: Sequence[ListInvariance]) -> float:
        return float(np.mean([x.losses[name].by_score for x in of]))

    def by_share(of: Sequence[ListInvariance]) -> float:
        return float(np.mean([x.losses[name].by_share for x in of]))

    alone = [f"{by_score(own):+.4f}" for own in groups]
    return [name, _sure(lists, by_score, "+.4f"), _sure(lists, by_share, "+.4f"), *alone]


def _order_line(lists: Sequence[ListInvariance], num_shuffles: int) -> str:
    num_steady = sum(x.shuffles.has_one_order for x in lists)
    largest = max(x.shuffles.largest_change for x in lists)
    return (
        f"Shuffled {num_shuffles} times, {num_steady} of {len(lists)} lists of {NUM_FEW} documents "
        f"came out in one order every time (goal: all); the largest change of p was {largest:.2g} "
        "(goal: 0.001)."
    )


def _scores(lists: Sequence[ListInvariance], name: str) -> Array:
    return np.concatenate([x.shifts[name].scores for x in lists])


def _sure(lists: Sequence[ListInvariance], statistic: Statistic, form: str) -> str:
    """Write a number with its interval."""
    rng = np.random.default_rng(0)
    places = rng.integers(len(lists), size=(_NUM_RESAMPLES, len(lists)))
    values = [statistic([lists[i] for i in row]) for row in places]
    low, high = np.quantile(values, (0.025, 0.975))
    return f"{statistic(lists):{form}} ({low:{form}} to {high:{form}})"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]
