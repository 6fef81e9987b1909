"""A server and a Prometheus that scrapes it every second, both on free ports of this machine."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import yaml

from deploy_kit.rules import DEPLOY

ROOT = Path(__file__).parents[1]  # from where a process of its own finds this package
SETTINGS = {
    "BLOCKRANK_PORT": "0",
    "BLOCKRANK_MAX_QUEUE_REQUESTS": "3",
    "BLOCKRANK_DOCUMENT_CACHE_BYTES": "1000000",
    "BLOCKRANK_MAX_BODY_BYTES": "1000000",
    "BLOCKRANK_STRICT_MODEL": "true",
}


class Running(NamedTuple):
    """A process and the port it listens on."""

    process: "subprocess.Popen[str]"
    port: int


@contextmanager
def fake_server() -> Iterator[Running]:
    """The service on a model that takes time and fails (fake_server.py)."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("BLOCKRANK_")}
    command = [sys.executable, "-W", "error", "-m", "deploy_kit.fake_server"]
    environment = clean | SETTINGS | {"PYTHONPATH": str(ROOT)}
    with _process(command, r'"url":"http://127\.0\.0\.1:(\d+)"', environment) as it:
        yield it


@contextmanager
def prometheus(folder: Path, server_port: int) -> Iterator[Running]:
    """Prometheus with the project's configuration and rules, only faster.

    Args:
        folder: an empty one, for its files.
        server_port: the port of the server that it scrapes.
    """
    command = [
        binary("prometheus"),
        f"--config.file={_config(folder, server_port)}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    with _process(command, r'msg="Listening on" address=127\.0\.0\.1:(\d+)', os.environ) as it:
        # It listens before it has read its storage, and refuses questions until then.
        while httpx.get(f"http://127.0.0.1:{it.port}/-/ready").status_code != httpx.codes.OK:
            time.sleep(0.1)
        yield it


def binary(name: str) -> str:
    """Path of a program.

    Raises:
        FileNotFoundError: it is not installed.
    """
    if (found := shutil.which(name)) is None:
        raise FileNotFoundError(f"{name} is not on PATH; make test-deploy gets it")
    return found


def _config(folder: Path, server_port: int) -> Path:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    every_second = dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), "1s")
    config["global"] = every_second
    config["rule_files"] = [str(DEPLOY / "prometheus" / "rules" / "*.yml")]
    (folder / "targets.yml").write_text(yaml.safe_dump([{"targets": [f"127.0.0.1:{server_port}"]}]))
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


@contextmanager
def _process(command: list[str], says: str, environment: Mapping[str, str]) -> Iterator[Running]:
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        # Read on after the port, or the process stops when the pipe is full.
        drain = threading.Thread(target=deque, args=(process.stdout, 0))
        lines: list[str] = []
        try:
            for line in process.stdout:
                lines.append(line)
                if port := re.search(says, line):
                    drain.start()
                    yield Running(process, int(port[1]))
                    break
            else:
                raise AssertionError(f"{command[0]} ended: {''.join(lines)}")
        finally:
            process.terminate()
            process.wait(60)
            if drain.ident:
                drain.join()
