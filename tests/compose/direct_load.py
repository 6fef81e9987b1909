"""Run inside the stack's network: clients that rank without a second try until the server is gone.

    python - NUM_CLIENTS < direct_load.py

Prints a line when every client has had an answer, and at the end, as JSON, how often each outcome
came.
Inside, because a port that the engine publishes accepts connections for a server that does not.
"""

import json
import sys
import threading
import time
from collections import Counter

import httpx

GONE = "ConnectError"
PAUSE_S = 0.05  # after a refusal, which comes at once

seen: Counter[str] = Counter()
answered = threading.Barrier(int(sys.argv[1]) + 1)


def ask(client_number: int) -> None:
    """One request after the other; no two alike, because identical ones are computed once."""
    outcome, number = "", 0
    with httpx.Client(base_url="http://rerank:8000", timeout=120) as client:
        while outcome != GONE:
            number += 1
            query = f"power of government {client_number} {number}"
            body = {"query": query, "documents": [f"{query} {i} " * 4 for i in range(3)]}
            try:
                outcome = str(client.post("/rerank", json=body).status_code)
            except httpx.TransportError as error:
                outcome = type(error).__name__
            seen[outcome] += 1
            if number == 1:
                answered.wait()
            if outcome in ("429", "503"):
                time.sleep(PAUSE_S)


threads = [threading.Thread(target=ask, args=(i,)) for i in range(int(sys.argv[1]))]
for thread in threads:
    thread.start()
answered.wait()
print("under way", flush=True)
for thread in threads:
    thread.join()
print(json.dumps(seen))
