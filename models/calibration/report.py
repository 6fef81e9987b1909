"""Writes in Markdown how good a calibration is."""

from collections.abc import Sequence

from blockrank_server.models.calibration.calibrate import Fitted, Row

_HEAD = (
    "| lists of | fitted on | lists | ECE | Brier | AUC, one threshold | AUC in a list "
    "| AUROC of the best | false accept at 90 % |"
)


def as_markdown(fitted: Fitted) -> str:
    """Write the formula, and a row for each judged part."""
    found = fitted.calibration
    return "\n".join(
        [
            f"z = {found.slope:.4f} (log(n share) + {found.level_weight:.4f} level) "
            f"{found.intercept:+.4f}; something relevant from p = {found.any_relevant_from:.4f}",
            "",
            *_table(fitted.rows),
        ]
    )


def _table(rows: Sequence[Row]) -> list[str]:
    lines = [_HEAD, "|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        num_lists, *numbers = row.quality
        cells = " | ".join(f"{value:.3f}" for value in numbers)
        lines.append(f"| {row.name} | {row.fitted_on} | {num_lists} | {cells} |")
    return lines
