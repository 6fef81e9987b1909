"""Decides what a ranker's memory is for, before any of it is taken."""

from typing import Literal, NamedTuple, Self

from transformers import PretrainedConfig

from blockrank_server.models.checkpoint.any_card import PackedCard
from blockrank_server.models.engine.document_memory import least_document_bytes
from blockrank_server.models.engine.memory import (
    MemoryNeed,
    available_bytes,
    check_memory,
    free_bytes,
)
from blockrank_server.models.engine.placement import Placement
from blockrank_server.models.errors import CheckpointError


class MemoryPlan(NamedTuple):
    """Holds the bytes of weights and kept documents, and the tokens of a batch that fit beside.

    Attributes:
        cuda_graph_bytes: taken by graphs; 0 where batches run without.
        max_batch_tokens: None on the CPU, which is not checked.
    """

    weight_bytes: int
    max_batch_tokens: int | None
    document_cache_bytes: int
    cuda_graph_bytes: int

    @classmethod
    def of(
        cls,
        config: PretrainedConfig,
        card: PackedCard,
        placement: Placement,
        document_cache_bytes: int | Literal["auto"],
        max_batch_tokens: int | None,
    ) -> Self:
        """Plan for a checkpoint that is not loaded yet.

        Args:
            document_cache_bytes: auto takes a quarter of what the weights will leave to the
                process, since batches need room, too; or nothing, where the card's documents
                cannot be kept or that is too little for them.
            max_batch_tokens: the tokens of the largest batch to come, if that is known.

        Raises:
            CheckpointError: weights, documents and batch do not fit the device.
        """
        dtype, device = placement.dtype, placement.device
        need = MemoryNeed.of(
            config,
            card.last_layer,
            dtype,
            placement.quantization,
            has_graphs=placement.has_graphs,
        )
        kept = document_cache_bytes
        if kept == "auto":
            quarter = (available_bytes(device) - need.weights - need.graphs) // 4
            least = least_document_bytes(config, card, dtype)
            kept = quarter if least is not None and quarter >= least else 0
        elif kept < 0:
            raise CheckpointError(f"document_cache_bytes is {kept}, at least 0 is needed")
        fits = check_memory(need, free_bytes(device), max_batch_tokens, kept)
        return cls(need.weights, fits, kept, need.graphs)
