"""Scores by the baseline of the paper: the answer's ids are decoded, token by token.

The prompt runs once, block-sparse as served; its keys and values are kept, and every further token
attends to all of them, as the tail does.

Axes: T = packed tokens, H = query heads, K = key/value heads, D = head_dim.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch.nn.functional import scaled_dot_product_attention

from blockrank_server.kernels.backend import Backend
from blockrank_server.models.checkpoint.any_card import attention_card
from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.checkpoint.checkpoint import Checkpoint
from blockrank_server.models.checkpoint.model_config import load_model_config
from blockrank_server.models.data.shortlists import Shortlist
from blockrank_server.models.engine.attention_reader import AttentionReader
from blockrank_server.models.engine.engine import Engine
from blockrank_server.models.engine.network import Network
from blockrank_server.models.engine.packing import pack
from blockrank_server.models.engine.placement import Placement
from blockrank_server.models.engine.whole_decoder import WholeDecoder, load_whole_decoder
from blockrank_server.models.errors import CardError
from blockrank_server.models.evaluation.scorer import Progress, Scores
from blockrank_server.models.prompt.prompt_encoder import PromptEncoder
from blockrank_server.models.prompt.request import Document
from blockrank_server.models.prompt.tokenizer import TextTokenizer

# Ten ids of three digits with their commas.
_MAX_TOKENS = 48
# What an answer consists of until it is closed.
_OPEN_ANSWER = re.compile(r"[\s\d,\[]*")


class DecodingScorer:
    """Ranks by the ids that greedy decoding gives, then by the order given.

    Args:
        card: has {number} in its documents.
        decoder: runs every layer and the LM head.
        tokenizer: reads the ids that were decoded.
        backend: computes the prompt's attention.

    Raises:
        CardError: the card's documents have no number to decode.
    """

    def __init__(
        self,
        card: Card,
        prompt: PromptEncoder,
        decoder: WholeDecoder,
        tokenizer: TextTokenizer,
        device: torch.device,
        backend: Backend,
    ) -> None:
        check_numbers(card)
        self._card = card
        self._prompt = prompt
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._device = device
        self._backend = backend

    @classmethod
    def open(cls, found: Checkpoint, placement: Placement) -> "DecodingScorer":
        """Load every layer of a checkpoint.

        Raises:
            CheckpointError: it is not whole.
            CardError: its documents have no number to decode, or there is an adapter.
        """
        card = attention_card(found.card, "decoding")
        check_numbers(card)
        if found.adapter:
            raise CardError(
                f"card {card.name}: decoding runs a checkpoint as it is, without an adapter"
            )
        config = load_model_config(found.folder)
        tokenizer = TextTokenizer(found.folder / "tokenizer.json")
        return cls(
            card,
            PromptEncoder(card, tokenizer, config.max_position_embeddings),
            load_whole_decoder(found, placement.device, placement.dtype),
            tokenizer,
            placement.device,
            placement.backend,
        )

    def __call__(self, lists: Sequence[Shortlist], progress: Progress) -> list[Scores]:
        """Give 1, 1/2, 1/3, ... to the documents decoded, 0 to others; None if none was."""
        found: list[Scores] = []
        for x in lists:
            indices = self.decode(x.query, x.documents)
            place = {index: 1 / rank for rank, index in enumerate(indices, 1)}
            found.append([place.get(i, 0.0) for i in range(len(x.doc_ids))] if place else None)
            progress(1)
        return found

    def decode(self, query: str, documents: Sequence[Document]) -> list[int]:
        """Return the indices of the documents that the answer names, in its order, each once."""
        text = self.answer(query, documents)
        first = self._card.prompt.first_number
        named = [int(number) - first for number in re.findall(r"\d+", text)]
        return [i for i in dict.fromkeys(named) if 0 <= i < len(documents)]

    @torch.inference_mode()
    def answer(self, query: str, documents: Sequence[Document]) -> str:
        """Return what greedy decoding writes, up to the end of its list of ids."""
        request = self._prompt.encode(query, documents)
        cache = _Cache(self._backend)
        engine = Engine(
            cast(Network, self._decoder), self._card, self._device, cache.backend_of_prompt()
        )
        _, hidden_TC = engine.run(pack([request], self._card))
        assert hidden_TC is not None
        position = int(request.position_ids[-1])
        ids: list[int] = []
        text = ""
        while len(ids) < _MAX_TOKENS:
            ids.append(int(self._decoder.next_token_logits(hidden_TC[-1:]).argmax()))
            text = self._tokenizer.decode(ids)
            if (open_part := _OPEN_ANSWER.match(text)) and open_part.end() < len(text):
                return open_part[0]
            position += 1
            hidden_TC = self._decoder(
                torch.tensor(ids[-1:], device=self._device),
                torch.tensor([position], device=self._device),
                cache.attend,
                cast(AttentionReader, _ReadsNothing()),
            )
        return re.sub(r"\d+$", "", text)  # the last number may not be whole


def check_numbers(card: Card) -> None:
    """Refuse a card without {number} in its documents.

    Raises:
        CardError: there is none.
    """
    if not card.prompt.uses("document", "number"):
        raise CardError(
            f"card {card.name}: its documents have no {{number}}, so there is no id to decode"
        )


class _Cache:
    """Keeps keys and values of every layer, [T, K, D] each, and computes attention to them."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._keys: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []
        self._layer = 0

    def backend_of_prompt(self) -> Backend:
        """Return a backend that leaves keys and values here on the way."""
        return replace(self._backend, block_attention=self._attend_prompt)

    def _attend_prompt(
        self, q_THD: torch.Tensor, k_TKD: torch.Tensor, v_TKD: torch.Tensor, plan: Any, scale: float
    ) -> torch.Tensor:
        self._keys.append(k_TKD)
        self._values.append(v_TKD)
        return self._backend.block_attention(q_THD, k_TKD, v_TKD, plan, scale)

    def attend(
        self, q_1HD: torch.Tensor, k_1KD: torch.Tensor, v_1KD: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Return [1, H, D] of one token after the prompt, layer by layer, lowest first."""
        layer, self._layer = self._layer, (self._layer + 1) % len(self._keys)
        self._keys[layer] = torch.cat([self._keys[layer], k_1KD])
        self._values[layer] = torch.cat([self._values[layer], v_1KD])
        heads_H1D = scaled_dot_product_attention(
            q_1HD.transpose(0, 1),
            self._keys[layer].transpose(0, 1),
            self._values[layer].transpose(0, 1),
            scale=scale,
            enable_gqa=True,
        )
        return heads_H1D.transpose(0, 1)


class _ReadsNothing:
    """Stands in for a reader, for tokens that are not read."""

    def reads(self, layer: int) -> bool:
        del layer
        return False
