"""Measures documents/s of replicas on Ray Serve (deploy/rerank_ray/), beside the plain server's.

    make load-ray        (nothing else may run; about 6 minutes)

Eight clients send lists of 10 documents as fast as they are answered, every query different. Each
row is started anew in every round; "to 1 x 1" is the median of the rounds' own ratios.
"""

import argparse
import os
import platform
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import count
from pathlib import Path
from statistics import median
from typing import NamedTuple

import httpx

from bench_saturation import Body, bodies
from blockrank_server.models.data.shortlists import read_shortlists

HERE = Path(__file__).parent
NUM_CLIENTS, NUM_DOCUMENTS, NUM_BODIES = 8, 10, 40


class ServerRow(NamedTuple):
    """Describes what is measured: replicas (0: the plain server) and torch threads of each."""

    name: str
    num_replicas: int
    num_threads: int


ROWS = (
    ServerRow("Ray, 1 replica x 1 thread", 1, 1),
    ServerRow("Ray, 2 replicas x 1 thread", 2, 1),
    ServerRow("Ray, 1 replica x 2 threads", 1, 2),
    ServerRow("plain server, 2 threads", 0, 2),
)


class ServedLoad(NamedTuple):
    """Holds what one row gave in one round; latencies are those of answers with scores."""

    documents_per_s: float
    p50_s: float
    p99_s: float
    statuses: Counter[int]


@contextmanager
def serving(row: ServerRow) -> Iterator[httpx.Client]:
    """Yield a client of the row's server, once that is ready."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    settings = {"PORT": port, "NUM_TORCH_THREADS": row.num_threads, "REQUEST_TIMEOUT_MS": 600_000}
    settings["DOCUMENT_CACHE_BYTES"] = 0  # the lists come round
    replicas = [f"{edge}_replicas={row.num_replicas}" for edge in ("min", "max")]
    module = ["rerank_ray", *replicas, f"num_cpus={row.num_threads}"]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            *(module if row.num_replicas else ["blockrank_server.service", "serve"]),
        ],
        env=os.environ | {f"BLOCKRANK_{name}": str(value) for name, value in settings.items()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as client:
            while not _is_ready(client):
                if process.poll() is not None:
                    raise SystemExit(f"{row.name}: the server ended with {process.returncode}")
                time.sleep(0.5)
            yield client
    finally:
        process.terminate()
        process.wait()


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/health/ready").is_success
    except httpx.TransportError:
        return False


def measure(client: httpx.Client, given: list[Body], seconds: float) -> ServedLoad:
    """Count what is answered within these seconds, by clients that all wait."""
    numbers = count()
    taken: list[tuple[int, float, float]] = []  # status, when sent, when answered
    start_s = time.perf_counter()

    def ask() -> None:
        while (sent_s := time.perf_counter()) < start_s + seconds:
            number = next(numbers)
            body = given[number % len(given)]
            answer = client.post("/rerank", json=body | {"query": f"{body['query']} {number}"})
            taken.append((answer.status_code, sent_s, time.perf_counter()))

    threads = [threading.Thread(target=ask) for _ in range(NUM_CLIENTS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    # Those under way at the end count with the time they took, so nothing is cut off.
    lasted_s = max(answered_s for _, _, answered_s in taken) - start_s
    latencies = sorted(ended - sent for status, sent, ended in taken if status == 200)
    return ServedLoad(
        len(latencies) * NUM_DOCUMENTS / lasted_s,
        median(latencies),
        latencies[int(0.99 * len(latencies))],
        Counter(status for status, _, _ in taken),
    )


def report(rounds: list[dict[str, ServedLoad]], seconds: float) -> str:
    date = datetime.now(UTC).date().isoformat()
    versions = ", ".join(f"{name} {version(name)}" for name in ("ray", "torch", "transformers"))
    lines = [
        f"# Replicas on Ray Serve, {date}\n",
        f"Embedded default in float32, {os.cpu_count()} cores ({platform.machine()}), Python "
        f"{platform.python_version()}, {versions}. {NUM_CLIENTS} clients in a closed loop, "
        f"lists of {NUM_DOCUMENTS} documents of 60 words; medians over rounds of {seconds:.0f} s: "
        f"{len(rounds)}.\n",
        "| | documents/s | to 1 x 1 | p50, s | p99, s | statuses |",
        "|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        found = [each[row.name] for each in rounds]
        ratio = median(
            each[row.name].documents_per_s / each[ROWS[0].name].documents_per_s for each in rounds
        )
        statuses = sum((each.statuses for each in found), Counter[int]())
        p50, p99 = (median(getattr(each, name) for each in found) for name in ("p50_s", "p99_s"))
        told = ", ".join(f"{status}: {number}" for status, number in sorted(statuses.items()))
        lines.append(
            f"| {row.name} | {median(each.documents_per_s for each in found):.1f} | {ratio:.2f} | "
            f"{p50:.2f} | {p99:.2f} | {told} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    given = bodies(read_shortlists(HERE / "data", "squad-sample"), NUM_DOCUMENTS, NUM_BODIES)
    rounds: list[dict[str, ServedLoad]] = []
    for _ in range(args.rounds):
        rounds.append({})
        for row in ROWS:
            with serving(row) as client:
                measure(client, given[:1], seconds=0.1)  # warms up
                print(f"measuring {row.name}", flush=True)
                rounds[-1][row.name] = measure(client, given, args.seconds)
                print(f"measured {rounds[-1][row.name]}", flush=True)
    text = report(rounds, args.seconds)
    (args.out / f"ray_cpu_{datetime.now(UTC).date().isoformat()}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
