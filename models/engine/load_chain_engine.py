"""Puts the local engine of reasoning together: weights on their device."""

from typing import NamedTuple

from transformers import PretrainedConfig

from blockrank_server.models.checkpoint.checkpoint import Checkpoint
from blockrank_server.models.checkpoint.reasoning_card import ReasoningCard
from blockrank_server.models.engine.chain_engine import ChainEngine
from blockrank_server.models.engine.decoder_loading import is_packed, load_decoder, num_bytes
from blockrank_server.models.engine.placement import Placement
from blockrank_server.models.engine.ranker_info import RankerInfo
from blockrank_server.models.reasoning.chain_pace import ChainPace


class LoadedChains(NamedTuple):
    """Holds the engine, and how it runs; load_seconds is 0 yet."""

    engine: ChainEngine
    info: RankerInfo


def load_chain_engine(
    found: Checkpoint[ReasoningCard],
    config: PretrainedConfig,
    placement: Placement,
    pace: ChainPace,
    num_vocabulary: int,
    max_tokens: int,
) -> LoadedChains:
    """Load the whole decoder.

    Args:
        num_vocabulary, max_tokens: as ChainEngine takes them.

    Raises:
        CheckpointError: the weights are not those of the config, or do not fit the device.
    """
    decoder = load_decoder(found.folder, config, placement.device, placement.dtype)
    info = RankerInfo(
        name=found.card.name,
        revision=found.served_revision(),
        device=str(placement.device),
        dtype=placement.names()["dtype"],
        attention="torch",
        num_layers_kept=decoder.num_layers,
        num_layers=decoder.num_layers,
        load_seconds=0.0,
        weight_bytes=num_bytes(decoder),
        max_batch_tokens=None,
        quantization="awq" if is_packed(config) else "none",
    )
    return LoadedChains(ChainEngine(decoder, pace, num_vocabulary, max_tokens), info)
