"""Measures what the batcher costs and saves: a saturated server, and short lists beside long ones.

    .venv/bin/python loadtests/bench_saturation.py        (nothing else may run; about 4 minutes)

saturation: tokens/s of a server that four clients keep busy, against the engine alone on the same
lists. beside: latency of 10-document lists while one client sends 100-document lists without a
pause, against the same lists on an idle server.
"""

import json
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import httpx

from bench_single_request import server
from blockrank_server.models.data.shortlists import Shortlist, read_shortlists
from blockrank_server.models.engine.host_memory import keep_freed_memory
from blockrank_server.models.ranker import Ranker

HERE = Path(__file__).parent
WORDS = 60  # of a document, about MS MARCO's mean
SHORT, LONG, NUM_LISTS = 10, 100, 40
Body = dict[str, Any]


def bodies(lists: list[Shortlist], num_documents: int, count: int) -> list[Body]:
    """Make lists of documents cut to WORDS words, every query different."""
    found = []
    for i in range(count):
        shortlist = lists[i % len(lists)]
        start = (7 * i) % (len(shortlist.documents) - num_documents + 1)
        texts = [
            " ".join(each["text"].split()[:WORDS])
            for each in shortlist.documents[start : start + num_documents]
        ]
        found.append({"query": f"{shortlist.query} {i}", "documents": texts})
    return found


def offline(given: list[Body]) -> float:
    """Measure tokens/s of the engine, one list at a time."""
    ranker = Ranker.open()
    encoded = [ranker.encode(body["query"], body["documents"]) for body in given]
    ranker.score(encoded[:1])
    started = time.perf_counter()
    for request in encoded:
        ranker.score([request])
    return sum(request.num_tokens for request in encoded) / (time.perf_counter() - started)


def saturated(client: httpx.Client, given: list[Body]) -> float:
    """Measure tokens/s of the server while four clients wait for it."""
    waiting: SimpleQueue[Body] = SimpleQueue()
    for body in given:
        waiting.put(body)
    tokens: list[int] = []

    def work() -> None:
        with httpx.Client(base_url=client.base_url, timeout=600) as own:
            while True:
                try:
                    body = waiting.get_nowait()
                except Empty:
                    return
                answer = own.post("/rerank", json=body).raise_for_status().json()
                tokens.append(answer["usage"]["total_tokens"])

    started = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(tokens) / (time.perf_counter() - started)


def latencies(client: httpx.Client, given: list[Body], pause_s: float) -> list[float]:
    """Time each body in seconds, one after another with a pause between, and sort the times."""
    found = []
    for body in given:
        started = time.perf_counter()
        client.post("/rerank", json=body).raise_for_status()
        found.append(time.perf_counter() - started)
        time.sleep(pause_s)
    return sorted(found)


def beside(client: httpx.Client, short: list[Body], long: list[Body]) -> list[float]:
    """Measure latencies of the short lists while long ones run."""
    stop = threading.Event()

    def work() -> None:
        with httpx.Client(base_url=client.base_url, timeout=600) as own:
            for body in long:
                if stop.is_set():
                    return
                own.post("/rerank", json=body).raise_for_status()

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(1)
    found = latencies(client, short, pause_s=1.3)
    stop.set()
    thread.join()
    return found


def p(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> None:
    keep_freed_memory()
    lists = read_shortlists(HERE / "data", "squad-sample")
    short, long = bodies(lists, SHORT, NUM_LISTS), bodies(lists, LONG, 30)
    alone = offline(short)
    with server() as client:
        client.post("/rerank", json=short[0])
        full = saturated(client, short)
        idle = latencies(client, short, pause_s=0)
        busy = beside(client, short, long)
    date = datetime.now(UTC).date().isoformat()
    figures = {
        "offline_tokens_per_s": alone,
        "saturated_tokens_per_s": full,
        "saturated_share": full / alone,
        "idle_p50_s": p(idle, 0.5),
        "idle_p95_s": p(idle, 0.95),
        "beside_p50_s": p(busy, 0.5),
        "beside_p95_s": p(busy, 0.95),
        "beside_p95_over_idle_p95": p(busy, 0.95) / p(idle, 0.95),
    }
    title = (
        f"Embedded default, {SHORT} documents of {WORDS} words, {NUM_LISTS} lists, beside lists of "
        f"{LONG}; fp32, {os.cpu_count()} CPU cores, {date}"
    )
    content = json.dumps({"title": title, **figures}, indent=1)
    (HERE / "results" / f"saturation_cpu_{date}.json").write_text(content + "\n")
    print(content)


if __name__ == "__main__":
    main()
