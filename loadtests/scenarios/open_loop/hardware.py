"""Tells what a run was made on: hardware, versions, the server's settings."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from open_loop.server import ServerError

PACKAGES = ("blockrank-server", "torch", "transformers", "locust", "gevent")
# Parts of /info that say nothing about speed.
_LEFT_OUT = ("card", "model_type", "docker_label", "sha")
_LOCAL = ("127.0.0.1", "localhost", "::1")


def label(info: Mapping[str, Any], host: str, given: str | None) -> str:
    """Return the short name of the server's hardware, for file names.

    Raises:
        ServerError: it cannot be known from here and was not given.
    """
    if given is not None:
        return given
    if info["device"] != "cpu" or urlsplit(host).hostname not in _LOCAL:
        raise ServerError("--hardware is needed for a server on a GPU or on another machine")
    return f"cpu-{os.cpu_count()}-cores"


def generator() -> dict[str, str]:
    """Describe the machine that the generator runs on."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory_bytes / 2**30:.0f} GiB",
        "system": platform.platform(),
    }


def processor() -> str:
    """Return the name of the processor's model."""
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of what is installed where the generator runs."""
    return {"Python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def settings(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the server's /info without what says nothing about speed."""
    return {name: value for name, value in info.items() if name not in _LEFT_OUT}
