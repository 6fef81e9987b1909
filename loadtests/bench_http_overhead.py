"""Measures what HTTP costs: POST /rerank with 100 documents and a model that does nothing.

    make load-overhead            (nothing else may run)

Against plain FastAPI, which reads the same bodies and sends them back; both under uvicorn, each in
a process of its own with one event loop, asked by the same client over kept connections. Rounds
alternate, so that all meet the same machine. "bytes" sends bodies back without reading them: the
ceiling. Ours does everything but tokenise and infer: its prompts are as long as real ones, made of
one number; JSON, dialect, threads, queue, batches, metrics, log line and rendering are real.
One connection shows what one request costs, several what an event loop can do.
"""

import argparse
import asyncio
import json
import os
import platform
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from blockrank_server.models.data.shortlists import read_shortlists

HERE = Path(__file__).parent
SERVERS = ("ours", "fastapi", "bytes")
NUM_DOCUMENTS = 100
PACKAGES = ("fastapi", "starlette", "uvicorn", "h11", "pydantic", "orjson")
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
Rates = dict[str, dict[int, list[float]]]  # server -> connections -> requests/s of each round


@contextmanager
def server(name: str) -> Iterator[int]:
    """Yield the port of a server that is ready; its log goes to a file, as it would anywhere."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = [sys.executable, str(HERE / "http_overhead_server.py"), name, str(port)]
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdout=log) as process:
        try:
            wait_until_ready(process, f"http://127.0.0.1:{port}/health/ready")
            yield port
        finally:
            process.terminate()


def wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    while process.poll() is None:
        with suppress(httpx.ConnectError):
            if httpx.get(url).status_code == httpx.codes.OK:
                return
        time.sleep(0.1)
    raise SystemExit("the server did not start")


def request_bytes() -> bytes:
    """Return one request, head and body, with real paragraphs."""
    shortlist = read_shortlists(HERE / "data", "squad-sample")[0].first(NUM_DOCUMENTS)
    texts = [document["text"] for document in shortlist.documents]
    body = json.dumps({"query": shortlist.query, "documents": texts}).encode()
    head = (
        "POST /rerank HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def ask(port: int, request: bytes, deadline: float) -> int:
    """Count the answers on one connection, one request after the other, until the deadline."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    num_answers = 0
    while time.perf_counter() < deadline:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"answered {head[:200]!r}")
        found = _LENGTH.search(head)
        assert found is not None
        await reader.readexactly(int(found[1]))
        num_answers += 1
    writer.close()
    return num_answers


async def rate(port: int, request: bytes, num_connections: int, seconds: float) -> float:
    """Measure the answers per second over all connections."""
    started = time.perf_counter()
    asking = [ask(port, request, started + seconds) for _ in range(num_connections)]
    num_answers = sum(await asyncio.gather(*asking))
    return num_answers / (time.perf_counter() - started)


def measure(connections: list[int], rounds: int, seconds: float) -> Rates:
    request = request_bytes()
    rates: Rates = {name: {n: [] for n in connections} for name in SERVERS}
    with ExitStack() as stack:
        ports = {name: stack.enter_context(server(name)) for name in SERVERS}
        for port in ports.values():
            asyncio.run(rate(port, request, max(connections), 1.0))  # warms up
        for _ in range(rounds):
            for n in connections:
                for name, port in ports.items():
                    rates[name][n].append(asyncio.run(rate(port, request, n, seconds)))
    return rates


def table(rates: Rates, connections: list[int]) -> list[dict[str, Any]]:
    """Return medians, and ratios of them from the same run."""
    rows = []
    for n in connections:
        row: dict[str, Any] = {name: median(rates[name][n]) for name in SERVERS}
        ratios = [a / b for a, b in zip(rates["ours"][n], rates["fastapi"][n], strict=True)]
        row |= {"connections": n, "ratio": row["ours"] / row["fastapi"]}
        row |= {"lowest": min(ratios), "highest": max(ratios)}
        rows.append(row)
    return rows


def report(rows: list[dict[str, Any]], title: str, about: str) -> str:
    lines = [
        f"# {title}\n",
        f"{about}\n",
        "| connections | ours, requests/s | FastAPI, JSON back | bytes back | ours / FastAPI |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['connections']} | {r['ours']:.0f} | {r['fastapi']:.0f} | {r['bytes']:.0f} | "
        f"{r['ratio']:.0%} ({r['lowest']:.0%} to {r['highest']:.0%}) |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def processor() -> str:
    names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return names[0] if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    rates = measure(args.connections, args.rounds, args.seconds)
    rows = table(rates, args.connections)
    date = datetime.now(UTC).date().isoformat()
    title = f"Requests/s of POST /rerank without a model, {NUM_DOCUMENTS} documents, {date}"
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    about = (
        f"{os.cpu_count()} cores, {processor()}, Python {platform.python_version()}, {versions}. "
        f"Body {len(request_bytes())} bytes; median of {args.rounds} rounds of {args.seconds:g} s, "
        f"ratios of single rounds in brackets. Out: tokenising and inference. "
        f"Load average before the run: {load:.2f}."
    )
    stem = args.out / f"http_overhead_{date}"
    stem.with_suffix(".md").write_text(report(rows, title, about))
    found = {"title": title, "about": about, "rows": rows, "rounds": rates}
    stem.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    print(report(rows, title, about))


if __name__ == "__main__":
    main()
