"""One forward pass of a batch: encoded requests in, raw scores out. Owned by one thread."""

from collections.abc import Sequence

import torch

from blockrank_server.kernels.block_attention import AttentionPlan
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
    """

    def __init__(self, network: Network, card: Card, device: torch.device) -> None:
        self._network = network
        self._card = card
        self._device = device

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
            scores = self.forward(batch)
        joined = torch.cat(scores).tolist()  # the one synchronisation of a batch
        rows, done = [], 0
        for row in scores:
            rows.append(joined[done : done + len(row)])
            done += len(row)
        return rows

    def forward(self, batch: PackedBatch) -> list[torch.Tensor]:
        """[N] fp32 scores of each request. Differentiable outside inference mode."""
        config = self._network.config
        reader = Reader(
            self._card,
            batch.reads,
            batch.num_documents,
            num_heads=config.num_attention_heads,
            num_kv_heads=config.num_key_value_heads,
            device=self._device,
        )
        self._network(
            torch.from_numpy(batch.token_ids).to(self._device),
            torch.from_numpy(batch.position_ids).to(self._device),
            AttentionPlan(batch.segments, batch.num_tokens, self._device),
            reader,
        )
        return reader.scores()
