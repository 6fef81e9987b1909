"""Searches with reranking as a few users do who ask again when they are answered.

    locust -f deploy/search/search_load.py --host http://127.0.0.1:8080

A closed loop: it shows that the path holds, and what is lost when something is killed. How fast the
reranker is tells `make load-test`.
"""

import gzip
import json
import os
import random
from pathlib import Path

from locust import FastHttpUser, task

DATA = Path(os.environ.get("SEARCH_DATA", Path(__file__).with_name("data")))
CANDIDATES = int(os.environ.get("SEARCH_NUM_CANDIDATES", "5"))
NUM_HITS = 3

with gzip.open(DATA / "questions.jsonl.gz", "rt", encoding="utf-8") as lines:
    QUERIES = [json.loads(line)["query"] for line in lines]


class Searcher(FastHttpUser):
    """Asks the judged questions in an order of its own."""

    network_timeout = connection_timeout = 120.0
    _random = random.Random(7)

    @task
    def search(self) -> None:
        """Search once; it is a failure unless it has its hits, in the reranker's order."""
        query = self._random.choice(QUERIES)
        parameters = {"q": query, "num_hits": NUM_HITS, "candidates": CANDIDATES}
        with self.client.get(
            "/search", params=parameters, name="search", catch_response=True
        ) as answer:
            if answer.status_code != 200:
                answer.failure(f"status {answer.status_code}")
                return
            found = answer.json()
            scores = [hit["score"] for hit in found["hits"]]
            if not found["reranked"] or len(scores) != NUM_HITS or scores != sorted(scores)[::-1]:
                answer.failure("not a ranking")
