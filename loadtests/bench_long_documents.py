"""Measures what `"long_documents": "chunk"` finds that `truncate` does not, and what it costs.

    python loadtests/bench_long_documents.py SETS NAME --lists 40      (nothing else may run)

SETS is a folder of sets (models/EVALUATION.md). A long document is one of a list's passages put
among passages of other lists; its place among them is the same for all documents of a list, and
another one for the next list. So what tells documents apart stands early in some lists, and late in
others.
"""

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import NamedTuple

import httpx

from bench_document_reuse import titled
from bench_single_request import HERE, server, write
from blockrank_server.models.data.shortlists import Document, Shortlist, read_shortlists

_HOW = ("truncate", "chunk")


class Found(NamedTuple):
    """Holds one list's outcome.

    Attributes:
        place: counts the passages before the one that matters.
        rank: that of the first relevant document, from 1, by either way.
        took_s: by either way.
    """

    place: int
    rank: dict[str, int]
    took_s: dict[str, float]


def lengthened(passage: Document, others: Sequence[Document], place: int) -> Document:
    """Put a passage behind so many others, and the rest of them behind it."""
    texts = [each["text"] for each in others]
    texts.insert(place, passage["text"])
    return {"title": passage["title"], "text": "\n".join(texts)}


def measure(
    client: httpx.Client, found: Shortlist, others: list[Document], place: int, num_passages: int
) -> Found:
    """Rank one list of long documents by either way."""
    rng = random.Random(found.query_id)
    documents = [
        lengthened(each, rng.sample(others, num_passages - 1), place) for each in found.documents
    ]
    relevant = {i for i, doc_id in enumerate(found.doc_ids) if doc_id in found.answer_ids}
    rank: dict[str, int] = {}
    took_s: dict[str, float] = {}
    for how in _HOW:
        started = time.perf_counter()
        body = {"query": found.query, "documents": documents, "long_documents": how}
        results = client.post("/rerank", json=body).raise_for_status().json()["results"]
        took_s[how] = time.perf_counter() - started
        rank[how] = 1 + next(i for i, row in enumerate(results) if row["index"] in relevant)
    return Found(place, rank, took_s)


def report(found: Sequence[Found], num_passages: int, title: str) -> str:
    """Write Markdown."""
    lines = [
        f"# {title}\n",
        "| passages before the one that matters | lists "
        "| mean reciprocal rank, truncate | chunk | first, truncate | chunk |",
        "|---|---|---|---|---|---|",
    ]
    for place in (*range(num_passages), None):
        own = [each for each in found if place is None or each.place == place]
        cells = [f"{mean(1 / x.rank[how] for x in own):.3f}" for how in _HOW]
        cells += [f"{sum(x.rank[how] == 1 for x in own)}" for how in _HOW]
        lines.append(f"| {'all' if place is None else place} | {len(own)} | {' | '.join(cells)} |")
    took = {how: median(x.took_s[how] for x in found) for how in _HOW}
    lines.append(
        f"\nMedian time of a list: truncate {took['truncate']:.2f} s, chunk {took['chunk']:.2f} s "
        f"({took['chunk'] / took['truncate']:.2f} times)."
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", type=Path)
    parser.add_argument("name")
    parser.add_argument("--lists", type=int, default=40)
    parser.add_argument("--documents", type=int, default=10)
    parser.add_argument("--passages", type=int, default=5, help="of a long document")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    lists = [each.first(args.documents) for each in read_shortlists(args.sets, args.name)]
    rng = random.Random(0)
    rng.shuffle(lists)
    lists = [each for each in lists if set(each.doc_ids) & set(each.answer_ids)][: args.lists]
    found = []
    with server() as client:
        for i, each in enumerate(lists):
            others = [x for other in lists if other is not each for x in other.documents]
            found.append(measure(client, each, others, i % args.passages, args.passages))
    title = titled(
        f"with {args.documents} long documents, {args.passages} passages of {args.name} each"
    )
    rows = [each._asdict() for each in found]
    markdown = report(found, args.passages, title)
    write(args.out, "long_documents_cpu", markdown, {"title": title, "lists": rows})


if __name__ == "__main__":
    main()
