"""Puts an engine together: weights on their device, and memory for documents."""

from transformers import PretrainedConfig

from blockrank_server.models.checkpoint.adapter import Adapter
from blockrank_server.models.checkpoint.card import check_heads
from blockrank_server.models.checkpoint.checkpoint import Checkpoint
from blockrank_server.models.checkpoint.content_digest import content_digest
from blockrank_server.models.engine.document_memory import DocumentBounds, open_document_memory
from blockrank_server.models.engine.engine import Engine
from blockrank_server.models.engine.loading import load_network
from blockrank_server.models.engine.placement import Placement


def load_engine(
    found: Checkpoint,
    config: PretrainedConfig,
    placement: Placement,
    bounds: DocumentBounds,
) -> Engine:
    """Take the memory for documents, and load the network.

    Raises:
        CardError: the card reads heads the network does not have.
        CheckpointError: the weights are not those of the config, or documents cannot be kept.
    """
    check_heads(found.card, config.num_attention_heads)
    last = found.card.last_layer
    # Others may have kept what a store holds: there a name must tell the files of models apart.
    names = [content_digest(found)] if bounds.store is not None else []
    memory = open_document_memory(
        bounds, config, found.card, placement.dtype, placement.device, names
    )
    network = load_network(
        found.folder,
        config,
        last,
        placement.device,
        placement.dtype,
        quantization=placement.quantization,
        adapter=Adapter(found.adapter, last) if found.adapter is not None else None,
        kept=found.card.int8_kept or () if placement.quantization == "dynamic_int8" else (),
        glue=placement.backend.glue,
    )
    return Engine(network, found.card, placement.device, placement.backend, memory)
