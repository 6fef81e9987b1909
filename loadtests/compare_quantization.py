"""Measures what fewer bits do to scores, memory and time, against the same model without.

    python loadtests/compare_quantization.py [--model FOLDER] [--device cuda]

All are open at once and take turns at every list, so that a busy machine slows all alike. Writes
loadtests/results/quantization_<card>_<device>_<date>.md and .json. Quality is for
`blockrank-server evaluate --quantization`.
"""

import argparse
import json
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from blockrank_server.models.data.shortlists import Shortlist, read_shortlists
from blockrank_server.models.engine.host_memory import keep_freed_memory
from blockrank_server.models.ranker import Ranker

HERE = Path(__file__).parent
Row = dict[str, Any]
Scores = NDArray[np.float64]


def tau(one: Scores, other: Scores) -> float:
    """Compute Kendall's tau-a: pairs in the same order less pairs in the other, over all pairs."""
    i, j = np.triu_indices(len(one), 1)
    return float(np.mean(np.sign(one[i] - one[j]) * np.sign(other[i] - other[j])))


def measure(
    rankers: dict[str, Ranker], lists: list[Shortlist]
) -> tuple[dict[str, list[Scores]], dict[str, list[float]]]:
    """Return scores, and seconds for 100 documents, of every list by every ranker in turn."""
    scores: dict[str, list[Scores]] = {how: [] for how in rankers}
    seconds: dict[str, list[float]] = {how: [] for how in rankers}
    for ranker in rankers.values():
        ranker.rank(lists[0].query, lists[0].documents)
    for each in lists:
        for how, ranker in rankers.items():
            started = time.perf_counter()
            request = ranker.encode(each.query, each.documents)
            scores[how].append(np.array(ranker.score([request])[0]))
            spent = time.perf_counter() - started
            seconds[how].append(spent * 100 / len(each.documents))
    return scores, seconds


def row(
    how: str, ranker: Ranker, scores: dict[str, list[Scores]], seconds: dict[str, list[float]]
) -> Row:
    """Measure one line of the table."""
    pairs = list(zip(scores[how], scores["none"], strict=True))
    changes = np.concatenate([np.abs(found / expected - 1) for found, expected in pairs])
    times = zip(seconds[how], seconds["none"], strict=True)
    return {
        "quantization": how,
        "weight_bytes": ranker.info.weight_bytes,
        "mean_change": float(changes.mean()),
        "worst_change": float(changes.max()),
        "same_first": mean(float(a.argmax() == b.argmax()) for a, b in pairs),
        "tau": mean(tau(a, b) for a, b in pairs),
        "seconds": median(seconds[how]),
        "ratio": median(a / b for a, b in times),
    }


def table(rows: list[Row], title: str) -> str:
    lines = [
        f"# {title}\n",
        "| quantization | weights, MB | change of a score, mean | worst | same first document | "
        "Kendall's tau | s for 100 documents | over none |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['quantization']} | {r['weight_bytes'] / 1e6:.0f} | {r['mean_change']:.2%} | "
        f"{r['worst_change']:.1%} | {r['same_first']:.0%} | {r['tau']:.3f} | {r['seconds']:.2f} | "
        f"{r['ratio']:.3f} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--quantizations", nargs="+", default=["int8", "int4"])
    parser.add_argument("--data", type=Path, default=HERE / "data", help="folder of shortlists")
    parser.add_argument("--set", default="squad-sample")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    keep_freed_memory()
    rankers = {
        how: Ranker.open(args.model, device=args.device, dtype=args.dtype, quantization=how)
        for how in ("none", *args.quantizations)
    }
    lists = read_shortlists(args.data, args.set)
    scores, seconds = measure(rankers, lists)
    rows = [row(how, ranker, scores, seconds) for how, ranker in rankers.items()]
    plain, date = rankers["none"], datetime.now(UTC).date().isoformat()
    title = (
        f"{plain.card.name} ({plain.info.revision}) in fewer bits, {len(lists)} lists of "
        f"{args.set}, {plain.info.dtype} on {plain.info.device}, torch {torch.__version__}, "
        f"Python {platform.python_version()}, {date}"
    )
    args.out.mkdir(parents=True, exist_ok=True)
    name = f"{plain.card.name}_{plain.info.device}".replace("/", "--").replace(":", "")
    stem = args.out / f"quantization_{name}_{date}"
    stem.with_suffix(".md").write_text(table(rows, title))
    content = json.dumps({"title": title, "rows": rows}, indent=1)
    stem.with_suffix(".json").write_text(content + "\n")
    print(table(rows, title))


if __name__ == "__main__":
    main()
