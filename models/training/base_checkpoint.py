"""Opens the checkpoint that training starts from, as for serving, and checks it by the config."""

from dataclasses import dataclass
from typing import Self

import torch
from transformers import PretrainedConfig

from blockrank_server.models.checkpoint.any_card import attention_card
from blockrank_server.models.checkpoint.card import Card, check_heads
from blockrank_server.models.checkpoint.checkpoint import Checkpoint, find_checkpoint
from blockrank_server.models.checkpoint.model_config import load_model_config
from blockrank_server.models.engine.loading import load_network
from blockrank_server.models.engine.network import Network
from blockrank_server.models.engine.whole_decoder import WholeDecoder, load_whole_decoder
from blockrank_server.models.prompt.prompt_encoder import PromptEncoder
from blockrank_server.models.prompt.tokenizer import TextTokenizer
from blockrank_server.models.training.config import TrainConfig
from blockrank_server.models.training.errors import ConfigError
from blockrank_server.models.training.examples import AnswerText, ExampleMaker
from blockrank_server.models.training.lora import add_adapters, load_adapters
from blockrank_server.models.training.trainable_ranker import TrainableRanker
from blockrank_server.models.training.trained_weights import (
    TrainedAdapters,
    TrainedNetwork,
    TrainedWeights,
)


@dataclass(frozen=True, slots=True)
class BaseCheckpoint:
    """Describes a checkpoint before its weights are loaded.

    Attributes:
        found: its card and files.
        config: the sizes of its network.
        maker: makes training examples by the card's prompt.
    """

    found: Checkpoint
    card: Card
    config: PretrainedConfig
    maker: ExampleMaker

    @classmethod
    def open(cls, config: TrainConfig) -> Self:
        """Find a checkpoint and check its card against weights and config.

        An adapter of the checkpoint's card is not used: name it as config.adapter to go on from it.

        Raises:
            CardError, CheckpointError: it cannot be opened, or card and weights do not fit.
            ConfigError: the config asks for what the card rules out.
        """
        found = find_checkpoint(config.model, card=config.card)
        fields = load_model_config(found.folder)
        card = attention_card(found.card, "training")
        check_heads(card, fields.num_attention_heads)
        _check_card(config, card)
        tokenizer = TextTokenizer(found.folder / "tokenizer.json")
        prompt = PromptEncoder(card, tokenizer, fields.max_position_embeddings)
        answer = None
        if config.loss.lm:
            first = card.prompt.first_number
            answer = AnswerText(tokenizer, config.loss.answer, first, config.loss.answer_end)
            answer.token_ids([True])  # refuses an answer_end that is no control token
        return cls(found, card, fields, ExampleMaker(prompt, config.data, answer))

    def load(
        self, config: TrainConfig, device: torch.device
    ) -> tuple[TrainableRanker, TrainedWeights]:
        """Return the model with its loss, and the part of it that is trained.

        Adapters are drawn from torch's random numbers, seeded by the config.

        Raises:
            CheckpointError: a tensor is missing, broken or unexpected.
            ConfigError: no layer is left to train.
        """
        card = self.card
        is_narrow = config.lora is not None and config.dtype == "bfloat16"
        dtype = torch.bfloat16 if is_narrow else torch.float32
        network: Network | WholeDecoder
        if config.loss.lm:
            network = load_whole_decoder(self.found, device, dtype)
        else:
            network = load_network(self.found.folder, self.config, card.last_layer, device, dtype)
        weights = _trained_part(network, config, self.found)
        model = TrainableRanker(network, card, device, config.loss)
        if config.gradient_checkpointing:
            model.checkpoint_activations()
        return model, weights


def _trained_part(
    network: Network | WholeDecoder, config: TrainConfig, found: Checkpoint
) -> TrainedWeights:
    if config.lora is None:
        config_of: PretrainedConfig = network.config
        is_tied = bool(config_of.tie_word_embeddings)
        return TrainedNetwork(network, found.folder, is_head_tied=is_tied)
    torch.manual_seed(config.seed)
    lora = add_adapters(network, config.lora, config.model)
    if config.adapter is not None:
        load_adapters(network, config.adapter)
    return TrainedAdapters(network, lora)


def _check_card(config: TrainConfig, card: Card) -> None:
    most = max(config.data.draw_of(source).most for source in config.data.sources)
    if most > card.limits.max_documents:
        raise ConfigError(
            f"data.documents is {most}, card {card.name} allows {card.limits.max_documents}"
        )
    if config.loss.logits == "log_sum_exp" and card.reduce_tokens != "geometric_mean":
        raise ConfigError(
            f"loss.logits log_sum_exp needs a card with reduce_tokens geometric_mean: {card.name} "
            f"has {card.reduce_tokens}"
        )
    if config.loss.lm and not card.prompt.uses("document", "number"):
        raise ConfigError(
            f"loss.lm needs documents with a {{number}} to name in the answer, which card "
            f"{card.name} does not have"
        )
    if config.adapter is not None and config.lora is None:
        raise ConfigError("adapter goes with lora: with lora null every weight is trained")
