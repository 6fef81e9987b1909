"""Puts the local engine of reasoning together: weights on their device, and what goes with them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from blockrank_server.models.checkpoint.checkpoint import Checkpoint, find_reasoning_checkpoint
from blockrank_server.models.checkpoint.model_config import load_model_config
from blockrank_server.models.checkpoint.reasoning_card import ReasoningCard, ends_of_text
from blockrank_server.models.engine.chain_engine import ChainEngine
from blockrank_server.models.engine.decoder_loading import is_packed, load_decoder, num_bytes
from blockrank_server.models.engine.memory import used_and_total_bytes
from blockrank_server.models.engine.placement import Placement
from blockrank_server.models.engine.ranker_info import RankerInfo
from blockrank_server.models.engine.whole_decoder import WholeDecoder
from blockrank_server.models.prompt.tokenizer import TextTokenizer
from blockrank_server.models.reasoning.chain_pace import ChainPace
from blockrank_server.models.reasoning.chain_rules import ChainRules
from blockrank_server.models.reasoning.pair_encoder import PairEncoder


class LoadedChains(NamedTuple):
    """Holds the engine, what its prompts and chains are made by, and how it runs.

    Attributes:
        info: load_seconds is 0 yet.
        memory: counts used and total bytes of the device.
    """

    encoder: PairEncoder
    rules: ChainRules
    engine: ChainEngine
    pace: ChainPace
    info: RankerInfo
    memory: Callable[[], tuple[int, int]]


def load_chain_engine(
    path_or_name: str,
    *,
    card: str | Path | None,
    device: str,
    dtype: str,
    revision: str | None,
    offline: bool,
    cache_dir: Path | None,
    max_tokens: int,
) -> LoadedChains:
    """Load the whole decoder.

    Args:
        max_tokens: as ChainEngine takes it.

    Raises:
        CardError: the card is of another kind, not valid, or does not fit the checkpoint.
        CheckpointError: the weights are not those of the config, or do not fit the device.
    """
    placement = Placement.choose(device, dtype, "none")
    found = find_reasoning_checkpoint(
        path_or_name, card=card, revision=revision, offline=offline, cache_dir=cache_dir
    )
    config = load_model_config(found.folder)
    tokenizer = TextTokenizer(found.folder / "tokenizer.json")
    encoder = PairEncoder(found.card, tokenizer, config.max_position_embeddings)
    rules = ChainRules.of(found.card, tokenizer, ends_of_text(config.eos_token_id))
    decoder = load_decoder(found.folder, config, placement.device, placement.dtype)
    pace = ChainPace()
    info = _info(found, placement, decoder, is_packed=is_packed(config))
    return LoadedChains(
        encoder,
        rules,
        ChainEngine(decoder, pace, tokenizer.num_tokens, max_tokens),
        pace,
        info,
        partial(used_and_total_bytes, placement.device),
    )


def _info(
    found: Checkpoint[ReasoningCard],
    placement: Placement,
    decoder: WholeDecoder,
    *,
    is_packed: bool,
) -> RankerInfo:
    return RankerInfo(
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
        quantization="awq" if is_packed else "none",
    )
