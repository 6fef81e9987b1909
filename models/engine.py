"""One forward pass of a batch: encoded requests in, raw scores out. Owned by one thread."""

from collections.abc import Sequence

import torch

from blockrank_server.kernels.choose import Backend
from blockrank_server.models.card import Card
from blockrank_server.models.network import Network
from blockrank_server.models.packing import PackedBatch, pack
from blockrank_server.models.reading import Reader
from blockrank_server.models.request import EncodedRequest


class Engine:
    """Scores batches on one device.

    Args:
        network: with its weights on the device.
        card: of the same checkpoint.
        device: of the network.
        backend: computes attention and scores.
    """

    def __init__(
        self, network: Network, card: Card, device: torch.device, backend: Backend
    ) -> None:
        self._network = network
        self._card = card
        self._device = device
        self._backend = backend

    @property
    def max_score(self) -> float:
        """The largest score a document can have."""
        if self._card.reduce_heads == "mean":
            return 1.0
        return float(self._card.num_read_heads(self._network.config.num_attention_heads))

    def score(self, requests: Sequence[EncodedRequest]) -> list[list[float]]:
        """Raw score of every document of every request, in input order, by one forward pass."""
        batch = pack(requests, self._card)
        with torch.inference_mode():
            scores = self.forward(batch).scores()
        joined = torch.cat(scores).tolist()  # the one synchronisation of a batch
        rows, done = [], 0
        for row in scores:
            rows.append(joined[done : done + len(row)])
            done += len(row)
        return rows

    def forward(self, batch: PackedBatch) -> Reader:
        """What the read points saw of a batch. Differentiable outside inference mode."""
        config, backend = self._network.config, self._backend
        reader = Reader(
            self._card,
            batch.reads,
            batch.num_documents,
            num_heads=config.num_attention_heads,
            num_kv_heads=config.num_key_value_heads,
            device=self._device,
            backend=backend,
        )
        plan = backend.plan_attention(batch.segments, batch.num_tokens, self._device)
        self._network(
            torch.from_numpy(batch.token_ids).to(self._device),
            torch.from_numpy(batch.position_ids).to(self._device),
            lambda q_THD, k_TKD, v_TKD, scale: backend.block_attention(
                q_THD, k_TKD, v_TKD, plan, scale
            ),
            reader,
        )
        return reader
