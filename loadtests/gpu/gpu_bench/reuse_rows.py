"""Rows of requests whose documents are known in part: the engine with a memory for documents."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from statistics import median
from typing import Any

from blockrank_server.kernels.backend import Backend
from blockrank_server.models.engine.document_memory import DocumentBounds, open_document_memory
from blockrank_server.models.engine.engine import Engine
from blockrank_server.models.prompt.request import EncodedRequest
from gpu_bench.engine_rows import DTYPE, EngineBench, latencies_ms, start_ms
from gpu_bench.workload import request

Row = dict[str, Any]
# Documents of the longest list, and as many again that are new in a pass.
_POOL_BYTES = 12 * 2**30
_DRY_POOL_BYTES = 64 * 2**20
SHARES = (1.0, 0.95, 0.9, 0.5, 0.0)


@dataclass(frozen=True, slots=True)
class ReuseBench:
    """Times requests of which some documents are known.

    Attributes:
        bench: its engine's network is taken.
        engine: keeps documents.
        names: number documents, so that each is new.
    """

    bench: EngineBench
    engine: Engine
    names: "count[int]"

    @classmethod
    def make(cls, bench: EngineBench, backend: Backend) -> "ReuseBench":
        """Put a memory for documents beside the network of another bench."""
        network, card, device = bench.network, bench.model.reusable_card(), bench.device
        bounds = DocumentBounds(_POOL_BYTES if device.type == "cuda" else _DRY_POOL_BYTES)
        memory = open_document_memory(bounds, network.config, card, DTYPE, device)
        return cls(bench, Engine(network, card, device, backend, memory), count())

    def row(self, num_documents: int, share: float, seconds: float) -> Row:
        """Measure one request at a time, of which a share of the documents is known.

        Args:
            num_documents: the length of the list.
            share: of the documents, 0 to 1; the prefix is always known.
            seconds: how long is measured, and no fewer than 5 requests.
        """
        vocab = self.bench.model.config().vocab_size
        one, num_known = request(num_documents, vocab, seed=0), round(share * num_documents)
        shared = [self._name() for _ in range(1 + num_known)]

        def score(_: int) -> None:
            self.engine.score([self._leased(one, shared)])

        score(0)
        score(0)
        seen = latencies_ms(score, seconds)
        last = self._leased(one, shared)
        return {
            "variant": self.bench.name,
            "documents": num_documents,
            "known": num_known / num_documents,
            "tokens": one.num_tokens,
            "computed": last.num_computed_tokens,
            "requests": len(seen),
            "p50_ms": median(seen),
            "start_ms": start_ms(self.engine, last),
        }

    def _leased(self, one: EncodedRequest, shared: Sequence[bytes]) -> EncodedRequest:
        """Hold what is known of a request: the prefix and its first documents, if scored before."""
        num_new = 1 + one.num_documents - len(shared)
        memory = self.engine.document_memory
        assert memory is not None
        new = [self._name() for _ in range(num_new)]
        return replace(one, lease=memory.cache.find([*shared, *new]))

    def _name(self) -> bytes:
        return next(self.names).to_bytes(32, "little")
