"""Results as Markdown, and as JSON that is written after every row: a run that is cut short leaves
them. A section of a run is a process of its own, and so is its file."""

import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
# Column title, key, format; a value that is missing is shown as a dash.
Column = tuple[str, str, str]

PRODUCTS: Sequence[Column] = (
    ("product", "product", ""),
    ("dtype", "dtype", ""),
    ("tokens", "tokens", "d"),
    ("ms", "ms", ".4f"),
    ("TFLOP/s", "tflops", ".0f"),
    ("of the burst", "share", ".0%"),
    ("MHz", "mhz", ".0f"),
    ("W", "watts", ".0f"),
)
COPIES: Sequence[Column] = (
    ("copy of pinned memory", "copy", ""),
    ("MiB", "mib", ".0f"),
    ("ms", "ms", ".2f"),
    ("GB/s", "gbytes", ".1f"),
)
KERNELS: Sequence[Column] = (
    ("kernel", "kernel", ""),
    ("heads", "heads", ""),
    ("documents", "documents", "d"),
    ("tokens", "tokens", "d"),
    ("ms", "ms", ".4f"),
    ("TFLOP/s", "tflops", ".0f"),
    ("GB/s", "gbytes", ".0f"),
    ("of the ceiling", "share", ".0%"),
    ("torch reference, ms", "torch_ms", ".3f"),
    ("off from it", "torch_difference", ".1e"),
)
RIVALS: Sequence[Column] = (
    ("heads", "heads", ""),
    ("documents", "documents", "d"),
    ("block attention, ms", "ms", ".4f"),
    ("FlashAttention-2 over gathered keys, ms", "flash_ms", ".4f"),
    ("SDPA, dense mask, ms", "sdpa_ms", ".3f"),
    ("flex_attention, ms", "flex_ms", ".3f"),
    ("flex, first call, s", "flex_first_s", ".1f"),
    ("largest difference", "difference", ".1e"),
)
TILES: Sequence[Column] = (
    ("heads", "heads", ""),
    ("rows", "block_m", "d"),
    ("keys", "block_n", "d"),
    ("warps", "num_warps", "d"),
    ("stages", "num_stages", "d"),
    ("documents", "documents", "d"),
    ("ms", "ms", ".4f"),
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
    ("encode, ms", "encode_ms", ".1f"),
    ("launch, ms", "start_ms", ".1f"),
    ("TFLOP/s", "tflops", ".0f"),
    ("of the burst", "share", ".0%"),
    ("of the sustained", "sustained_share", ".0%"),
    ("MHz", "mhz", ".0f"),
    ("W", "watts", ".0f"),
    ("weights, GiB", "weights_gib", ".2f"),
    ("batch, GiB", "batch_gib", ".2f"),
    ("predicted, GiB", "predicted_gib", ".2f"),
)
KINDS: Sequence[Column] = (
    ("variant", "variant", ""),
    ("documents", "documents", "d"),
    ("device, ms", "device_ms", ".1f"),
    ("busy", "busy", ".0%"),
    ("matrix products, ms", "products", ".2f"),
    ("attention, ms", "attention", ".2f"),
    ("read and scores, ms", "read", ".2f"),
    ("glue, ms", "glue", ".2f"),
    ("copies, ms", "copies", ".2f"),
    ("the rest, ms", "rest", ".2f"),
    ("launches", "launches", "d"),
)
KNOWN: Sequence[Column] = (
    ("variant", "variant", ""),
    ("documents", "documents", "d"),
    ("known", "known", ".0%"),
    ("tokens", "tokens", "d"),
    ("computed", "computed", "d"),
    ("requests", "requests", "d"),
    ("p50, ms", "p50_ms", ".2f"),
    ("launch, ms", "start_ms", ".2f"),
)
DENSE: Sequence[Column] = (
    ("documents", "documents", "d"),
    ("tokens", "tokens", "d"),
    ("dense prefill + id, ms", "dense_ms", ".0f"),
)
TABLES: dict[str, Sequence[Column]] = {
    "Engine, end to end": ENGINE,
    "Where the device's time goes": KINDS,
    "Documents known before": KNOWN,
    "Plain transformers, all layers": DENSE,
    "Kernels, one layer, one request": KERNELS,
    "Attention beside others": RIVALS,
    "Tiles of block attention": TILES,
    "Products of the real shapes": PRODUCTS,
    "Copies between host and device": COPIES,
}
"""The tables of a whole report, in its order."""


def table(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """Write a Markdown table; columns that no row has a value for are left out."""
    shown = [c for c in columns if any(row.get(c[1]) is not None for row in rows)]
    lines = [[title for title, _, _ in shown], ["---"] * len(shown)]
    lines += [[_cell(row.get(key), form) for _, key, form in shown] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: Any, form: str) -> str:
    return "-" if value is None else format(value, form)


class Part:
    """The results of one process: conditions, rows of tables, and what failed or was left out.

    Args:
        path: the JSON file, written after every row.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.conditions: dict[str, str] = {}
        self.rows: dict[str, list[Row]] = {}
        self.notes: list[str] = []
        self.failures: list[str] = []

    def add(self, title: str, row: Row) -> None:
        """One more row of a table; written at once."""
        self.rows.setdefault(title, []).append(row)
        self.write()

    def note(self, text: str) -> None:
        """A sentence below the tables: what was left out."""
        self.notes.append(text)
        self.write()

    def guarded(self, what: str, work: Callable[[], object]) -> bool:
        """Do some of the work; what it raises is kept, and ends nothing else.

        Returns:
            Whether it went well.
        """
        try:
            work()
        except Exception as error:
            first_line = (str(error).strip().splitlines() or [""])[0]
            self.notes.append(f"FAILED: {what}: {type(error).__name__}: {first_line}")
            self.failures.append(f"{what}\n{traceback.format_exc()}")
            self.write()
            return False
        return True

    def write(self) -> None:
        """Write the file; makes its folder if need be."""
        body = {name: value for name, value in vars(self).items() if name != "_path"}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


def report(title: str, stamps: Sequence[str], parts: Sequence[Mapping[str, Any]]) -> str:
    """The whole of a run as Markdown.

    Args:
        title: the first line.
        stamps: what a reader must know before any number.
        parts: what Part wrote, of every process.
    """
    lines = [f"# {title}\n", *(f"**{stamp}**\n" for stamp in stamps)]
    conditions: dict[str, str] = {}
    for part in parts:
        conditions |= part["conditions"]
    lines.append("".join(f"- {name}: {value}\n" for name, value in conditions.items()))
    for name, columns in TABLES.items():
        if rows := [row for part in parts for row in part["rows"].get(name, [])]:
            lines.append(f"## {name}\n\n{table(columns, rows)}")
    if notes := [note for part in parts for note in part["notes"]]:
        lines.append("## Notes\n\n" + "".join(f"- {note}\n" for note in notes))
    lines += [f"```\n{failure}```\n" for part in parts for failure in part["failures"]]
    return "\n".join(lines)
