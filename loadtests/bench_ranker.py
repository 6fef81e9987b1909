"""Measures the engine's latency on this machine, against plain transformers on the same prompts.

    make load            (nothing else may run: contention costs more than it measures)

For N = 10, 20, 50, 100 real documents, medians of:
  ours       Ranker.rank: tokenise, pack, block-sparse forward cut at the read layer, scores
  dense      (a) the whole model by plain transformers, causal attention over the same tokens
  pointwise  (b) the whole model by plain transformers, one forward a document
Neither baseline computes logits of more than the last token, and each is timed once after a
warm-up (minutes at N = 100); all run in one process with the same allocator settings.
Writes loadtests/results/.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from blockrank_server.models.checkpoint.gguf import weights_file
from blockrank_server.models.data.shortlists import Shortlist, read_shortlists
from blockrank_server.models.engine.host_memory import keep_freed_memory
from blockrank_server.models.engine.packing import PackedBatch, pack
from blockrank_server.models.engine.reader import Reader
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.models.prompt.tokenizer import TokenIds
from blockrank_server.models.ranker import Ranker

HERE = Path(__file__).parent
Row = dict[str, Any]


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Return the median of repeats after one call to warm up."""
    function()
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        found.append(time.perf_counter() - started)
    return median(found)


def whole_model(ranker: Ranker) -> PreTrainedModel:
    """Load the default as plain transformers do: every layer, the final norm, the LM head."""
    assert ranker.card.weights is not None
    path = weights_file(ranker.card.weights)
    logging.disable_progress_bar()
    return AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, local_files_only=True
    ).eval()


def forward(model: PreTrainedModel, token_ids: TokenIds) -> None:
    """Run one causal forward pass over the tokens, with logits of the last one only."""
    with torch.inference_mode():
        model(torch.from_numpy(token_ids)[None].long(), use_cache=False, logits_to_keep=1)


def forward_each(model: PreTrainedModel, prompts: list[TokenIds]) -> None:
    for token_ids in prompts:
        forward(model, token_ids)


def pairs(encoded: EncodedRequest) -> list[TokenIds]:
    """Join prefix | document | tail to one prompt for each document."""
    ids = encoded.token_ids
    prefix, tail = ids[: encoded.num_prefix_tokens], ids[encoded.tail_start :]
    return [np.concatenate([prefix, ids[a:b], tail]) for a, b in encoded.block_spans]


def outside_forward(ranker: Ranker, shortlist: Shortlist, repeats: int) -> float:
    """Return the share of a request outside the forward pass: tokenising, packing, reading back."""
    spent: list[float] = []
    whole = ranker._engine.forward

    def timed(batch: PackedBatch, between_steps: Callable[[], None] | None = None) -> Reader:
        started = time.perf_counter()
        reader = whole(batch, between_steps)
        spent.append(time.perf_counter() - started)
        return reader

    ranker._engine.forward = timed  # type: ignore[method-assign]
    total = seconds(lambda: ranker.rank(shortlist.query, shortlist.documents), repeats)
    ranker._engine.forward = whole  # type: ignore[method-assign]
    return 1 - median(spent[1:]) / total


def measure(ranker: Ranker, model: PreTrainedModel, shortlist: Shortlist, repeats: int) -> Row:
    """Measure one line of the table."""
    encoded = ranker.encode(shortlist.query, shortlist.documents)
    ours = seconds(lambda: ranker.rank(shortlist.query, shortlist.documents), repeats)
    dense = seconds(lambda: forward(model, encoded.token_ids), 1)
    alone = pairs(encoded)
    pointwise = seconds(lambda: forward_each(model, alone), 1)
    tokens = pack([encoded], ranker.card).num_tokens
    return {
        "documents": len(shortlist.documents),
        "tokens": tokens,
        "ours_s": ours,
        "tokens_per_s": tokens / ours,
        "dense_s": dense,
        "dense_ratio": dense / ours,
        "pointwise_s": pointwise,
        "pointwise_ratio": pointwise / ours,
        "outside_forward": outside_forward(ranker, shortlist, repeats),
    }


def report(rows: list[Row], title: str, exponent: float) -> str:
    lines = [
        f"# {title}\n",
        "| documents | tokens | ours, s | tokens/s | (a) dense, s | (a) / ours | "
        "(b) pointwise, s | (b) / ours | outside the forward |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['documents']} | {r['tokens']} | {r['ours_s']:.2f} | {r['tokens_per_s']:.0f} | "
        f"{r['dense_s']:.2f} | {r['dense_ratio']:.1f}x | {r['pointwise_s']:.2f} | "
        f"{r['pointwise_ratio']:.1f}x | {r['outside_forward']:.1%} |"
        for r in rows
    ]
    lines.append(f"\nTime grows as documents^{exponent:.2f} (least squares on the logarithms).")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, nargs="+", default=[10, 20, 50, 100])
    parser.add_argument(
        "--repeats", type=int, default=3, help="measured calls, after one to warm up"
    )
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    keep_freed_memory()
    ranker = Ranker.open(device="cpu", dtype="float32")
    model = whole_model(ranker)
    shortlist = read_shortlists(HERE / "data", "squad-sample")[0]
    rows = []
    for count in args.documents:
        rows.append(measure(ranker, model, shortlist.first(count), args.repeats))
        print(rows[-1], flush=True)
    sizes, times = (np.log([float(r[key]) for r in rows]) for key in ("documents", "ours_s"))
    exponent = float(np.polyfit(sizes, times, 1)[0]) if len(rows) > 1 else float("nan")
    date = datetime.now(UTC).date().isoformat()
    title = (
        f"Default model, {ranker.info.num_layers_kept} of {ranker.info.num_layers} layers, fp32, "
        f"{os.cpu_count()} cores {_cpu()}, torch {torch.__version__}, transformers "
        f"{transformers.__version__}, Python {platform.python_version()}, {date}"
    )
    text = report(rows, title, exponent)
    args.out.mkdir(parents=True, exist_ok=True)
    stem = args.out / f"ranker_cpu_{date}"
    stem.with_suffix(".md").write_text(text)
    stem.with_suffix(".json").write_text(
        json.dumps({"title": title, "exponent": exponent, "rows": rows}, indent=1) + "\n"
    )
    print(text)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
