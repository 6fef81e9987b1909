"""nDCG@10 of a ranker on shortlists, beside the first stage's order and chance.

    python loadtests/evaluate.py ../shared/data/eval

Every query is ranked; scores are against all judgements, so a relevant document that the first
stage missed counts. Writes loadtests/results/quality_<card>_<date>.md and .json, with
the quantization behind the card's name where there is one.
"""

import argparse
import json
import platform
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any

import ir_measures
import torch
from ir_measures import nDCG

from blockrank_server.models.host_memory import keep_freed_memory
from blockrank_server.models.ranker import Ranker
from blockrank_server.models.request import EncodedRequest
from blockrank_server.models.shortlists import Shortlist, read_qrels, read_shortlists, set_names

Run = dict[str, dict[str, float]]
Qrels = dict[str, dict[str, int]]
Row = dict[str, Any]
METRIC = nDCG @ 10
_BYTES_PER_TOKEN = 4  # int32 token ids
RESULTS = Path(__file__).with_name("results")


def run_of(lists: list[Shortlist], scores: list[list[float]]) -> Run:
    """A run in which ties keep the first stage's order."""
    run: Run = {}
    for x, row in zip(lists, scores, strict=True):
        order = sorted(range(len(row)), key=lambda i: (-row[i], i))
        run[x.query_id] = {x.doc_ids[i]: float(-rank) for rank, i in enumerate(order)}
    return run


def ndcg(run: Run, qrels: Qrels) -> dict[str, float]:
    """nDCG@10 of each query; a query without a ranking counts as zero."""
    found = {m.query_id: float(m.value) for m in ir_measures.iter_calc([METRIC], qrels, run)}
    return {query_id: found.get(query_id, 0.0) for query_id in qrels}


def chance(lists: list[Shortlist], qrels: Qrels, num_shuffles: int = 20) -> float:
    """Mean nDCG@10 of shuffled lists."""
    rng = random.Random(7)
    return mean(
        mean(
            ndcg(run_of(lists, [[rng.random() for _ in x.doc_ids] for x in lists]), qrels).values()
        )
        for _ in range(num_shuffles)
    )


def batches(
    encoded: list[tuple[int, EncodedRequest]], max_tokens: int
) -> Iterator[list[tuple[int, EncodedRequest]]]:
    """Requests with documents in common together: shared documents are computed once.

    Each batch grows by the request that adds the fewest document tokens, up to max_tokens of them.
    """
    left = dict(encoded)
    blocks = {
        i: {request.token_ids[a:b].tobytes() for a, b in request.block_spans}
        for i, request in encoded
    }
    batch: list[tuple[int, EncodedRequest]] = []
    placed: set[bytes] = set()
    while left:
        new = {i: sum(map(len, blocks[i] - placed)) for i in left}
        nearest = min(left, key=new.__getitem__)
        if batch and (sum(map(len, placed)) + new[nearest]) // _BYTES_PER_TOKEN > max_tokens:
            yield batch
            batch, placed = [], set()
        batch.append((nearest, left.pop(nearest)))
        placed |= blocks[nearest]
    yield batch


def rank(ranker: Ranker, lists: list[Shortlist], max_tokens: int) -> list[list[float]]:
    """Scores of every list, in the lists' order."""
    encoded = [(i, ranker.encode(x.query, x.documents)) for i, x in enumerate(lists)]
    scores: dict[int, list[float]] = {}
    for batch in batches(encoded, max_tokens):
        rows = ranker.score([request for _, request in batch])
        scores.update({i: row for (i, _), row in zip(batch, rows, strict=True)})
    return [scores[i] for i in range(len(lists))]


def evaluate(ranker: Ranker, data: Path, name: str, num_documents: int, max_tokens: int) -> Row:
    """One line of the table."""
    lists = [x.first(num_documents) for x in read_shortlists(data, name)]
    qrels = read_qrels(data, name)
    qrels = {x.query_id: qrels[x.query_id] for x in lists}
    started = time.perf_counter()
    ours = ndcg(run_of(lists, rank(ranker, lists, max_tokens)), qrels)
    seconds = time.perf_counter() - started
    first = ndcg(run_of(lists, [[0.0] * len(x.doc_ids) for x in lists]), qrels)
    difference = [ours[q] - first[q] for q in qrels]
    return {
        "set": name,
        "queries": len(lists),
        "documents": round(mean(len(x.doc_ids) for x in lists), 1),
        "first_stage": mean(first.values()),
        "ours": mean(ours.values()),
        "chance": chance(lists, qrels),
        "won": sum(d > 0 for d in difference),
        "lost": sum(d < 0 for d in difference),
        "seconds": seconds,
    }


def table(rows: list[Row], title: str) -> str:
    """Markdown."""
    lines = [
        f"# {title}\n",
        "| set | queries | documents a query | BM25 order | ranker | chance | won / lost |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['set']} | {r['queries']} | {r['documents']} | {r['first_stage']:.3f} | "
        f"{r['ours']:.3f} | {r['chance']:.3f} | {r['won']} / {r['lost']} |"
        for r in rows
    ]
    means = [mean(r[key] for r in rows) for key in ("first_stage", "ours", "chance")]
    lines.append(f"| mean of sets | | | {means[0]:.3f} | {means[1]:.3f} | {means[2]:.3f} | |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of evaluation sets")
    parser.add_argument("--sets", nargs="+", help="some of them; all by default")
    parser.add_argument("--model", default="default")
    parser.add_argument("--card", type=Path)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--quantization", default="none")
    parser.add_argument("--documents", type=int, default=20, help="first-stage documents a query")
    parser.add_argument("--max-batch-tokens", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    keep_freed_memory()
    ranker = Ranker.open(
        args.model, card=args.card, dtype=args.dtype, quantization=args.quantization
    )
    args.out.mkdir(parents=True, exist_ok=True)
    date = datetime.now(UTC).date().isoformat()
    bits = [args.quantization] if args.quantization != "none" else []
    numbers = " ".join([ranker.info.dtype, *bits])
    title = (
        f"nDCG@10 of {ranker.card.name} ({ranker.info.revision}), {args.documents} documents, "
        f"{numbers} on {ranker.info.device}, torch {torch.__version__}, "
        f"Python {platform.python_version()}, {date}"
    )
    name = ranker.card.name.replace("/", "--")
    stem = args.out / "_".join(["quality", name, *bits, date])
    rows = _done(stem.with_suffix(".json"), title)
    for name in args.sets or set_names(args.data):
        if name in {row["set"] for row in rows}:
            continue
        row = evaluate(ranker, args.data, name, args.documents, args.max_batch_tokens)
        print(row, flush=True)
        rows.append(row)
        rows.sort(key=lambda row: str(row["set"]))
        stem.with_suffix(".md").write_text(table(rows, title))
        content = json.dumps({"title": title, "rows": rows}, indent=1)
        stem.with_suffix(".json").write_text(content + "\n")
    print(table(rows, title))


def _done(path: Path, title: str) -> list[Row]:
    """Rows of an interrupted run of the same title."""
    found = json.loads(path.read_text()) if path.exists() else {}
    return list(found["rows"]) if found.get("title") == title else []


if __name__ == "__main__":
    main()
