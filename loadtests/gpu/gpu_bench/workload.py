"""Makes what is measured: model shapes, and requests with the lengths of MS MARCO passages.

Weights, token ids and lengths are random. Times do not depend on what they say.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import CONFIG_MAPPING, PretrainedConfig

from blockrank_server.kernels.glue import Glue
from blockrank_server.models.checkpoint.card import BUILT_IN, Card, load_card
from blockrank_server.models.engine.fused_network import FusedNetwork
from blockrank_server.models.engine.network import Network
from blockrank_server.models.prompt.request import EncodedRequest

LENGTHS = (
    "a document is 15 tokens of frame and a content whose length is log-normal (median 75.4, "
    "sigma 0.38), rounded and clipped to 10 .. 145: blocks of 25 .. 160 tokens, mean 95; "
    "prefix 90 to 105 tokens, whatever makes the whole a multiple of 16 (torch's SDPA would copy "
    "its mask in every call otherwise), tail 70"
)
_MEDIAN, _SIGMA, _SHORTEST, _LONGEST, _FRAME = 75.4, 0.38, 10, 145, 15
_PREFIX, _TAIL, _SIGNAL, _MULTIPLE = 90, 70, 2, 16
_TAIL_OFFSET = 16_384


@dataclass(frozen=True, slots=True)
class Heads:
    """Counts the attention heads of a model."""

    name: str
    num_heads: int
    num_kv_heads: int
    head_dim: int


MISTRAL = Heads("Mistral-7B", 32, 8, 128)
SMOLLM2 = Heads("SmolLM2-135M", 9, 3, 64)
TINY = Heads("tiny", 4, 2, 16)


@dataclass(frozen=True, slots=True)
class Model:
    """Describes a checkpoint's shape and the card it runs with; its weights are random."""

    name: str
    fields: dict[str, Any]
    last_layer: int

    def config(self) -> PretrainedConfig:
        """Make a new config each time: the network cuts its own."""
        return CONFIG_MAPPING["mistral"].from_dict(dict(self.fields))

    def card(self) -> Card:
        """Return BlockRank's card, with the read layer of this shape."""
        return self._card("quicktensor--blockrank-msmarco-mistral-7b.json")

    def reusable_card(self) -> Card:
        """Return the default's card, whose documents can be kept, with the same read layer."""
        return self._card("default.json")

    def _card(self, name: str) -> Card:
        fields = load_card(BUILT_IN / name).model_dump()
        return Card.model_validate(fields | {"read": [{"layer": self.last_layer, "heads": "all"}]})

    def network(
        self, device: torch.device, dtype: torch.dtype, glue: Glue | None = None
    ) -> Network:
        """The cut network, N(0, 0.02) everywhere but in the norms.

        Args:
            device: gets the weights.
            dtype: is theirs.
            glue: computes what is between products, as served on CUDA; without it transformers'
                modules do.
        """
        with torch.device("meta"):
            network = (
                Network(self.config(), self.last_layer)
                if glue is None
                else FusedNetwork(self.config(), self.last_layer, glue)
            ).to(dtype)
        network.to_empty(device=device)
        network.restore_rotary(device)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.fill_(1) if parameter.ndim == 1 else parameter.normal_(std=0.02)
        return network.requires_grad_(False).eval()


MISTRAL_7B = Model(
    "Mistral-7B-v0.3 shape, random weights",
    {
        "model_type": "mistral",
        "vocab_size": 32_768,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 32_768,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e6,
        "sliding_window": None,
    },
    last_layer=20,
)
TINY_MODEL = Model(
    "tiny shape, random weights",
    MISTRAL_7B.fields
    | {
        "vocab_size": 97,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": TINY.num_heads,
        "num_key_value_heads": TINY.num_kv_heads,
        "head_dim": TINY.head_dim,
    },
    last_layer=2,
)


def document_lengths(count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw [count] tokens of documents with their frames, as LENGTHS says."""
    content = np.rint(_MEDIAN * np.exp(_SIGMA * random.standard_normal(count)))
    return _FRAME + content.clip(_SHORTEST, _LONGEST).astype(np.int64)


def request(num_documents: int, vocab_size: int, seed: int) -> EncodedRequest:
    """Make a request in BlockRank's layout: shared document positions, two signal tokens last."""
    random = np.random.default_rng(seed)
    lengths = document_lengths(num_documents, random)
    prefix = _PREFIX + -(_PREFIX + int(lengths.sum()) + _TAIL) % _MULTIPLE
    edges = prefix + np.concatenate([[0], lengths.cumsum()])
    spans = np.stack([edges[:-1], edges[1:]], axis=1).astype(np.int32)
    tail_start = int(edges[-1])
    num_tokens = tail_start + _TAIL
    positions = [
        np.arange(prefix),
        *(prefix + np.arange(length) for length in lengths),
        _TAIL_OFFSET + np.arange(_TAIL),
    ]
    return EncodedRequest(
        token_ids=random.integers(0, vocab_size, num_tokens, dtype=np.int32),
        position_ids=np.concatenate(positions).astype(np.int32),
        num_prefix_tokens=prefix,
        tail_start=tail_start,
        block_spans=spans,
        scored_spans=spans,
        signal_span=(num_tokens - _SIGNAL, num_tokens),
    )
