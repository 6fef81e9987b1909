"""Runs the server's own app as one replica, without a socket of its own for requests."""

import asyncio
import gc

import ray
from ray import serve
from starlette.types import ASGIApp

from blockrank_server.service.api.app import create_app
from blockrank_server.service.api.server import prepare_process
from blockrank_server.service.open_ranker import OpenRanker
from blockrank_server.service.scheduler.model_worker import ModelWorker
from blockrank_server.service.scheduler.phase import Phase
from blockrank_server.service.settings import Settings
from rerank_ray.front import Front
from rerank_ray.probes_port import ProbesPort

_LOADING = (Phase.LOADING, Phase.WARMING)
_BROKEN = (Phase.FAILED, Phase.DEAD)


class Replica:
    """Is what Ray Serve starts, asks and stops.

    Args:
        open_ranker: gives the ranker; it is called on the thread that will own it.
    """

    def __init__(self, settings: Settings, open_ranker: OpenRanker) -> None:
        prepare_process(settings)
        self._server = create_app(settings, open_ranker)
        self._worker: ModelWorker = self._server.state.worker
        self._probes = ProbesPort(self._server, ray.util.get_node_ip_address())
        self._has_frozen = False

    async def __serve_build_asgi_app__(self) -> ASGIApp:
        """Return the app that answers what comes from Ray's proxies; Ray runs its lifespan."""
        await self._probes.start()
        return Front(self._server, self._targets)

    async def check_health(self) -> None:
        """Wait for the model, at first; Ray sends requests from then on.

        Raises:
            RuntimeError: only a new replica helps.
        """
        while self._worker.phase in _LOADING:
            await asyncio.sleep(0.1)
        if self._worker.phase in _BROKEN:
            raise RuntimeError(f"the model is {self._worker.phase}") from self._worker.load_error
        if not self._has_frozen:
            gc.freeze()  # as service/api/server.py does, and for its reason
            self._has_frozen = True

    def probes_address(self) -> str:
        """Return host:port, where this replica alone answers /metrics."""
        return self._probes.address

    async def _targets(self) -> list[str]:
        context = serve.get_replica_context()
        handle = serve.get_deployment_handle(context.deployment, context.app_name)
        asked = handle.broadcast("probes_address")
        # One that has just died is no target; Ray takes a moment to notice.
        found = await asked.results_async(return_exceptions=True)
        return sorted(each for each in found if isinstance(each, str))
