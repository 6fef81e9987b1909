"""Measures what a request costs beside the model: POST /rerank to a server of its own, one by one.

    make load            (nothing else may run)

It writes medians over the same shortlists as bench_ranker.py, from the client's clock and the
server's Server-Timing. "outside" is all that is not the model's forward pass: HTTP, JSON,
tokenising, queue.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from blockrank_server.models.data.shortlists import Shortlist, read_shortlists

HERE = Path(__file__).parent
COMMAND = Path(sys.executable).with_name("blockrank-server")
Row = dict[str, Any]
_SETTINGS = {"BLOCKRANK_REQUEST_TIMEOUT_MS": "600000", "BLOCKRANK_DOCUMENT_CACHE_BYTES": "0"}


@contextmanager
def server(**settings: str) -> Iterator[httpx.Client]:
    """Yield a client of a server on the embedded default, once it is ready.

    Args:
        settings: BLOCKRANK_* variables, without the prefix. No documents are kept unless they say.
    """
    environment = os.environ | _SETTINGS
    environment |= {f"BLOCKRANK_{name}": value for name, value in settings.items()}
    process = subprocess.Popen(
        [COMMAND, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if found := re.search(r'"url":"http://([\d.]+:\d+)"', line):
                break
        else:
            raise SystemExit("the server did not start")
        with httpx.Client(base_url=f"http://{found[1]}", timeout=600) as client:
            while client.get("/health/ready").status_code != httpx.codes.OK:
                time.sleep(0.2)
            yield client
    finally:
        process.terminate()
        process.wait()


def measure(client: httpx.Client, shortlist: Shortlist, repeats: int) -> Row:
    """Measure one line of the table; times are in milliseconds."""
    body = {"query": shortlist.query, "documents": list(shortlist.documents)}
    found = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        response = client.post("/rerank", json=body).raise_for_status()
        wall = (time.perf_counter() - started) * 1e3
        timing = dict(re.findall(r"(\w+);dur=([\d.]+)", response.headers["Server-Timing"]))
        found.append({name: float(ms) for name, ms in timing.items()} | {"wall": wall})
    row = {name: median(one[name] for one in found[1:]) for name in found[0]}  # the first warms up
    outside = median(1 - one["infer"] / one["wall"] for one in found[1:])
    return {"documents": len(shortlist.documents), **row, "outside": outside}


def report(rows: list[Row], title: str) -> str:
    lines = [
        f"# {title}\n",
        "| documents | client, ms | tokenise, ms | queue, ms | infer, ms | outside infer |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['documents']} | {r['wall']:.0f} | {r['tokenize']:.1f} | {r['queue']:.1f} | "
        f"{r['infer']:.0f} | {r['outside']:.1%} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def write(out: Path, name: str, markdown: str, found: dict[str, Any]) -> None:
    """Write a report as Markdown and its figures as JSON, named by the day; print the report."""
    stem = out / f"{name}_{datetime.now(UTC).date().isoformat()}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".md").write_text(markdown)
    stem.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    print(markdown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, nargs="+", default=[10, 20, 50, 100])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    shortlist = read_shortlists(HERE / "data", "squad-sample")[0]
    with server() as client:
        info = client.get("/info").json()
        rows = [measure(client, shortlist.first(n), args.repeats) for n in args.documents]
    date = datetime.now(UTC).date().isoformat()
    title = (
        f"POST /rerank, {info['model_id']} on {info['device']} in {info['model_dtype']}, "
        f"{os.cpu_count()} cores, one request at a time, {date}"
    )
    name = f"single_request_{info['device']}"
    write(args.out, name, report(rows, title), {"title": title, "rows": rows})


if __name__ == "__main__":
    main()
