"""Puts an engine together: weights on their device, and memory for documents."""

from transformers import PretrainedConfig

from blockrank_server.models.checkpoint.adapter import Adapter
from blockrank_server.models.checkpoint.any_card import PackedCard
from blockrank_server.models.checkpoint.card import Card, check_heads
from blockrank_server.models.checkpoint.checkpoint import Checkpoint
from blockrank_server.models.checkpoint.content_digest import content_digest
from blockrank_server.models.engine.document_memory import DocumentBounds, open_document_memory
from blockrank_server.models.engine.engine import Engine
from blockrank_server.models.engine.graph_capture import CudaCapture
from blockrank_server.models.engine.loading import load_network
from blockrank_server.models.engine.placement import Placement
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.prompt.tokenizer import TextTokenizer
from blockrank_server.models.prompt.yes_no_encoder import verdict_ids


def load_engine(
    found: Checkpoint,
    config: PretrainedConfig,
    placement: Placement,
    bounds: DocumentBounds,
    tokenizer: TextTokenizer,
) -> Engine:
    """Take the memory for documents, and load the network.

    Raises:
        CardError: the card reads heads the network does not have, or its verdicts are no tokens.
        CheckpointError: the weights are not those of the config, or documents cannot be kept.
    """
    head_rows: tuple[int, ...] = ()
    if isinstance(found.card, Card):
        check_heads(found.card, config.num_attention_heads)
    else:
        head_rows = verdict_ids(found.card, tokenizer)
        if max(head_rows) >= config.vocab_size:
            raise CheckpointError(
                f"a verdict is token {max(head_rows)}, the config has vocab_size "
                f"{config.vocab_size}"
            )
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
        kept=_kept(found.card, placement),
        glue=placement.backend.glue,
        head_rows=head_rows,
    )
    capture = CudaCapture(placement.device) if placement.has_graphs else None
    return Engine(network, found.card, placement.device, placement.backend, memory, capture)


def _kept(card: PackedCard, placement: Placement) -> tuple[str, ...]:
    """Name the linear layers that stay as they are where the others are quantized."""
    is_int8 = placement.quantization == "dynamic_int8"
    return card.int8_kept or () if is_int8 and isinstance(card, Card) else ()
