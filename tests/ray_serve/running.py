"""An application of two replicas in processes of its own."""

import os
import re
import socket
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any

import httpx

FAKE_APPLICATION = Path(__file__).with_name("fake_application.py")
COUNTED = re.compile(r'^rerank_requests_total\{.*status="(\d+)"\} (\d+)\.0$', re.MULTILINE)


class Running:
    """The application, once it is ready.

    Args:
        folder: an empty one; the models' FIFOs lie there.
        settings: those of the server, without BLOCKRANK_.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self._folder = folder
        os.mkfifo(folder / "holding")
        # Open for writing too, so that it never ends between two writers.
        self._holding = os.fdopen(os.open(folder / "holding", os.O_RDWR), "rb", buffering=0)
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        own = {"PORT": str(port), "MODEL": str(folder), "MAX_WAIT_MS": "0"} | settings
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("BLOCKRANK_", "RAY_"))}
        self.process = subprocess.Popen(
            [
                sys.executable,
                str(FAKE_APPLICATION),
                "min_replicas=2",
                "max_replicas=2",
                "num_cpus=0.1",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=clean | {f"BLOCKRANK_{name}": value for name, value in own.items()},
        )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120)
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line.startswith("serving on"):
                break
        else:
            raise AssertionError("".join(lines))
        # Read on, or the process stops when the pipe is full.
        self._drain = threading.Thread(target=deque, args=(self.process.stdout, 0), daemon=True)
        self._drain.start()

    def post(self, query: str, **options: Any) -> httpx.Response:
        """A request of two documents."""
        body = {"query": query, "documents": ["capital of France", "bread"]}
        return self.client.post("/rerank", json=body, **options)

    def held(self) -> int:
        """The process whose model is held next."""
        line = b""
        while not line.endswith(b"\n"):
            line += self._holding.read(1)
        return int(line)

    def release(self, pid: int) -> None:
        """Let the model of this process go on."""
        (self._folder / str(pid)).open("wb").close()

    def release_all(self) -> None:
        """Each that is held, until stop_releasing."""
        while pid := self.held():
            self.release(pid)

    def stop_releasing(self) -> None:
        """End release_all, in another thread."""
        os.write(self._holding.fileno(), b"0\n")

    def targets(self) -> list[str]:
        """Addresses of the replicas, as Prometheus asks for them."""
        [group] = self.client.get("/metrics/targets").raise_for_status().json()
        found: list[str] = group["targets"]
        return found

    def counted(self, status: int) -> list[int]:
        """Requests that each replica has counted under a status."""
        pages = [httpx.get(f"http://{target}/metrics").text for target in self.targets()]
        return [
            sum(int(n) for code, n in COUNTED.findall(page) if int(code) == status)
            for page in pages
        ]

    def close(self) -> None:
        """End it if it still runs."""
        self.client.close()
        self.process.terminate()
        self.process.wait(120)
        self._drain.join(60)
        self._holding.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
