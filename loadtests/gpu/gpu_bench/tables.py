"""Writes results as Markdown and JSON after every row: a run that is cut short leaves them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
# Column title, key, format; a value that is missing is shown as a dash.
Column = tuple[str, str, str]

KERNELS: Sequence[Column] = (
    ("kernel", "kernel", ""),
    ("heads", "heads", ""),
    ("documents", "documents", "d"),
    ("tokens", "tokens", "d"),
    ("ms", "ms", ".4f"),
    ("TFLOP/s", "tflops", ".0f"),
    ("GB/s", "gbytes", ".0f"),
    ("of the ceiling", "share", ".0%"),
    ("SDPA, dense mask, ms", "sdpa_ms", ".3f"),
    ("flex_attention, ms", "flex_ms", ".3f"),
    ("flex, first call, s", "flex_first_s", ".1f"),
    ("torch reference, ms", "torch_ms", ".3f"),
)
ENGINE: Sequence[Column] = (
    ("variant", "variant", ""),
    ("documents", "documents", "d"),
    ("tokens", "tokens", "d"),
    ("requests", "requests", "d"),
    ("p50, ms", "p50_ms", ".1f"),
    ("p95, ms", "p95_ms", ".1f"),
    ("p99, ms", "p99_ms", ".1f"),
    ("tokens/s", "tokens_per_s", ".0f"),
    ("tokens/s, overlapped", "overlapped_tokens_per_s", ".0f"),
    ("launch, ms", "start_ms", ".1f"),
    ("TFLOP/s", "tflops", ".0f"),
    ("of the product", "share", ".0%"),
    ("weights, GiB", "weights_gib", ".2f"),
    ("batch, GiB", "batch_gib", ".2f"),
    ("predicted, GiB", "predicted_gib", ".2f"),
)
KINDS: Sequence[Column] = (
    ("variant", "variant", ""),
    ("documents", "documents", "d"),
    ("device, ms", "device_ms", ".1f"),
    ("matrix products", "products", ".1%"),
    ("attention", "attention", ".1%"),
    ("read", "read", ".1%"),
    ("copies", "copies", ".1%"),
    ("elementwise and the rest", "rest", ".1%"),
)
DENSE: Sequence[Column] = (
    ("documents", "documents", "d"),
    ("tokens", "tokens", "d"),
    ("dense prefill + id, ms", "dense_ms", ".0f"),
    ("over plain", "ratio", ".1f"),
)


def table(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """Write a Markdown table; columns that no row has a value for are left out."""
    shown = [c for c in columns if any(row.get(c[1]) is not None for row in rows)]
    lines = [[title for title, _, _ in shown], ["---"] * len(shown)]
    lines += [[_cell(row.get(key), form) for _, key, form in shown] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: Any, form: str) -> str:
    return "-" if value is None else format(value, form)


class BenchReport:
    """Writes one result, conditions and sections, as NAME.json and NAME.md in a folder.

    Args:
        name: what the files are called.
        title: the first line.
        conditions: hardware, versions and shapes, a line each.
        folder: both are written to it.
    """

    def __init__(self, name: str, title: str, conditions: Mapping[str, str], folder: Path) -> None:
        self._title, self._conditions = title, conditions
        self._stem = folder / name
        self._sections: dict[str, tuple[Sequence[Column], list[Row]]] = {}
        self._notes: list[str] = []

    def add(self, section: str, columns: Sequence[Column], row: Row) -> None:
        """Add one more row to a section, and write it at once."""
        self._sections.setdefault(section, (columns, []))[1].append(row)
        self.write()

    def note(self, text: str) -> None:
        """Add a sentence below the tables, on what was left out or failed."""
        self._notes.append(text)
        self.write()

    def markdown(self) -> str:
        parts = [f"# {self._title}\n"]
        parts.append("".join(f"- {name}: {value}\n" for name, value in self._conditions.items()))
        for section, (columns, rows) in self._sections.items():
            parts.append(f"## {section}\n\n{table(columns, rows)}")
        if self._notes:
            parts.append("".join(f"- {note}\n" for note in self._notes))
        return "\n".join(parts)

    def write(self) -> None:
        """Writes both files; makes the folder if need be."""
        body = {
            "title": self._title,
            "conditions": dict(self._conditions),
            "sections": {name: list(rows) for name, (_, rows) in self._sections.items()},
            "notes": self._notes,
        }
        self._stem.parent.mkdir(parents=True, exist_ok=True)
        # Not with_suffix: the name of a device may hold a full stop.
        self._stem.with_name(f"{self._stem.name}.json").write_text(
            json.dumps(body, indent=1) + "\n"
        )
        self._stem.with_name(f"{self._stem.name}.md").write_text(self.markdown())
