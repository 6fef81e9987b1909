"""Writes in Markdown how good a calibration is."""

from collections.abc import Sequence

from blockrank_server.models.calibration.calibrate import Row
from blockrank_server.models.checkpoint.calibration import Calibration
from blockrank_server.models.evaluation.calibration import Bin

_HEAD = (
    "| lists of | fitted on | lists | ECE | Brier | AUC, one threshold | AUC in a list "
    "| AUROC of the best | false accept at 90 % |"
)


def as_markdown(found: Calibration, rows: Sequence[Row]) -> str:
    """Write the formula, and a row for each judged part."""
    return "\n".join(
        [
            f"z = {found.slope:.4f} (log(n share) + {found.level_weight:.4f} level) "
            f"{found.intercept:+.4f}; something relevant from p = {found.any_relevant_from:.4f}",
            "",
            *_table(rows),
        ]
    )


def reliability(bins: Sequence[Bin]) -> str:
    """Write what probabilities promise beside what came true, one column a bin."""
    kinds = (
        ("documents", [str(each.documents) for each in bins]),
        ("mean probability", [f"{each.score:.4f}" for each in bins]),
        ("judged relevant", [f"{each.relevant:.4f}" for each in bins]),
    )
    head = ["| all lists |" + " |" * len(bins), "|---|" + "---|" * len(bins)]
    return "\n".join([*head, *(f"| {name} | {' | '.join(cells)} |" for name, cells in kinds)])


def _table(rows: Sequence[Row]) -> list[str]:
    lines = [_HEAD, "|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        num_lists, *numbers = row.quality
        cells = " | ".join(f"{value:.3f}" for value in numbers)
        lines.append(f"| {row.name} | {row.fitted_on} | {num_lists} | {cells} |")
    return lines
