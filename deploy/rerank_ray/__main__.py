"""Run the application until a signal: python -m rerank_ray [option=value ...].

The cluster is the one that RAY_ADDRESS names, or one of this machine alone, which ends with the
command.
"""

import os
import signal
import sys
import threading

import ray
from pydantic import ValidationError
from ray import serve

from blockrank_server.service.open_ranker import OpenRanker, open_ranker
from blockrank_server.service.settings import Settings
from rerank_ray.application import build_with
from rerank_ray.options import ReplicaOptions

_USAGE = 2
_NAME = "blockrank"


def main(arguments: list[str], open_ranker: OpenRanker = open_ranker) -> int:
    """Run it.

    Args:
        arguments: option=value; ReplicaOptions names them.
        open_ranker: gives the ranker; called in each replica.

    Returns:
        Exit code: 0 after a signal, 2 for a wrong option or setting.
    """
    try:
        options = ReplicaOptions.model_validate(dict(each.split("=", 1) for each in arguments))
        settings = Settings()
    except ValueError as error:
        text = str(error) if isinstance(error, ValidationError) else "use option=value"
        print(f"error: {text}", file=sys.stderr)
        return _USAGE
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's own default, 15, lets any other process on the machine go first.
    os.environ.setdefault("RAY_worker_niceness", "0")
    if "RAY_ADDRESS" in os.environ:
        ray.init()
    else:
        ray.init("local", include_dashboard=False)
    is_told = threading.Event()
    # Only now: ray.init has put its own handler there, which ends the process at once.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: is_told.set())
    try:
        serve.start(
            http_options={"host": settings.host, "port": settings.port},
            proxy_location="EveryNode",
        )
        serve.run(build_with(options, settings, open_ranker), name=_NAME)
        print(f"serving on http://{settings.host}:{settings.port}", flush=True)
        is_told.wait()
        # First, and alone: replicas answer what they have. shutdown would end the proxies at once,
        # and with them the answers.
        serve.delete(_NAME)
    finally:
        serve.shutdown()
        ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
