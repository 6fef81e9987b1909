"""Measures what a request costs whose documents are known, against the same with none known.

    python loadtests/bench_document_reuse.py          (nothing else may run)

A server of its own keeps documents (BLOCKRANK_DOCUMENT_CACHE_BYTES=auto). Each number of documents
is asked for once with documents that are new, then with the queries of other lists over the same
documents; times are the client's. "half" is a list of which every second document is new.
"""

import argparse
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import torch

from bench_single_request import HERE, server, write
from blockrank_server.models.data.shortlists import Document, read_shortlists

Row = dict[str, Any]


def ask(client: httpx.Client, query: str, documents: list[Document]) -> tuple[float, str]:
    """Return milliseconds, and how many of the documents were known."""
    started = time.perf_counter()
    body = {"query": query, "documents": documents}
    response = client.post("/rerank", json=body).raise_for_status()
    known = response.headers["X-Cached-Documents"]
    return (time.perf_counter() - started) * 1e3, known


def marked(documents: tuple[Document, ...], mark: str) -> list[Document]:
    """Return documents that the server has not seen: their titles are new."""
    return [document | {"title": f"{mark} {document['title']}"} for document in documents]


def measure(client: httpx.Client, num_documents: int, repeats: int) -> Row:
    """Measure one line of the table; all times are medians in milliseconds."""
    lists = read_shortlists(HERE / "data", "squad-sample")
    queries = [each.query for each in lists]
    found: dict[str, list[float]] = {"cold": [], "known": [], "half": []}
    for turn in range(repeats):
        first, name = lists[turn].first(num_documents).documents, f"{num_documents}-{turn}"
        new, newer = marked(first, f"{name}."), marked(first, f"{name}:")
        half = [pair[i % 2] for i, pair in enumerate(zip(new, newer, strict=True))]
        for kind, documents, num_known, times in (
            ("cold", new, 0, 1),
            ("known", new, num_documents, 3),
            ("half", half, num_documents - num_documents // 2, 1),
        ):
            for i in range(times):
                took_ms, known = ask(client, queries[(turn + i + 1) % len(queries)], documents)
                if known != f"{num_known}/{num_documents}":
                    raise SystemExit(f"{kind}: {known} documents were known")
                found[kind].append(took_ms)
    row = {name: median(times) for name, times in found.items()}
    return {"documents": num_documents, **row, "ratio": row["cold"] / row["known"]}


def report(tables: dict[str, list[Row]], title: str) -> str:
    """Write Markdown."""
    lines = [
        f"# {title}\n",
        "| dtype | documents | cold, ms | half known, ms | all known, ms | cold / known |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {dtype} | {r['documents']} | {r['cold']:.0f} | {r['half']:.0f} | {r['known']:.0f} "
        f"| {r['ratio']:.0f} |"
        for dtype, rows in tables.items()
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def arguments(description: str) -> argparse.Namespace:
    """Read what is measured, how often, and where the report goes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--documents", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    return parser.parse_args()


def processor() -> str:
    """Name what decides: the model, and the instructions for short numbers."""
    found = torch.cpu.get_capabilities()
    names = "avx2", "avx512_f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"
    return f"{found.get('cpu_name')} ({', '.join(name for name in names if found.get(name))})"


def titled(what: str) -> str:
    """Name a report by what was measured, the machine and the day."""
    machine = f"{os.cpu_count()} cores, {processor()}"
    return f"POST /rerank {what}, default on cpu, {machine}, {datetime.now(UTC).date().isoformat()}"


def main() -> None:
    args = arguments(__doc__.splitlines()[0])
    tables = {}
    for dtype in args.dtypes:
        with server(DOCUMENT_CACHE_BYTES="auto", DTYPE=dtype) as client:
            tables[dtype] = [measure(client, n, args.repeats) for n in args.documents]
    title = titled("with kept documents")
    found = {"title": title, "tables": tables}
    write(args.out, "document_reuse_cpu", report(tables, title), found)


if __name__ == "__main__":
    main()
