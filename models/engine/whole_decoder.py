"""Runs the whole decoder with its LM head, for the next-token loss, with attention as served.

Axes: T = packed tokens, C = hidden size, A = positions whose next token is predicted,
V = vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from blockrank_server.models.checkpoint.any_card import attention_card
from blockrank_server.models.checkpoint.checkpoint import Checkpoint
from blockrank_server.models.checkpoint.gguf import weights_file
from blockrank_server.models.checkpoint.model_config import check_config, load_model_config
from blockrank_server.models.checkpoint.weights import check_tensor_files
from blockrank_server.models.engine.attention_reader import AttentionReader
from blockrank_server.models.engine.network import ATTENTION, Attention
from blockrank_server.models.errors import CheckpointError


class WholeDecoder(nn.Module):
    """Holds every layer of a decoder, called like the cut network.

    Args:
        model: is transformers' causal language model, with our attention.
    """

    takes_fp8 = False

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.config = model.config
        self.num_layers: int = model.config.num_hidden_layers
        self.embed_tokens = model.model.embed_tokens
        self.layers = model.model.layers
        self.rotary_emb = model.model.rotary_emb
        self.norm = model.model.norm
        self.lm_head = model.lm_head

    def forward(
        self,
        token_ids_T: torch.Tensor,
        position_ids_T: torch.Tensor,
        attention: Attention,
        reader: AttentionReader,
        between_steps: Callable[[], None] | None = None,
    ) -> torch.Tensor:
        """Return the [T, C] hidden states after the last layer; the reader reads on the way."""
        hidden = self.embed_tokens(token_ids_T)[None]
        cos_sin = self.rotary_emb(hidden, position_ids_T[None])
        for layer in self.layers:
            hidden = layer(
                hidden,
                attention_mask=None,
                position_embeddings=cos_sin,
                attention=attention,
                reader=reader,
            )
            if between_steps is not None:
                between_steps()
        last_TC: torch.Tensor = hidden[0]
        return last_TC

    def next_token_logits(self, hidden_AC: torch.Tensor) -> torch.Tensor:
        """Return the [A, V] logits of some of the last hidden states."""
        logits_AV: torch.Tensor = self.lm_head(self.norm(hidden_AC))
        return logits_AV


def load_whole_decoder(found: Checkpoint, device: torch.device, dtype: torch.dtype) -> WholeDecoder:
    """Load every layer of a checkpoint.

    Args:
        found: is a folder with the whole checkpoint, or an embedded GGUF file.
        device: gets the weights.
        dtype: is what they are converted to.

    Raises:
        CheckpointError: files or tensors are missing; only what scores need is fetched from a hub.
    """
    weights = found.card.weights
    source, file, config = found.folder, None, None
    if weights is None:
        check_tensor_files(source)
        config = load_model_config(source)
    else:
        path = weights_file(weights)
        source, file = path.parent, path.name
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            source,
            config=config,
            gguf_file=file,
            dtype=dtype,
            attn_implementation=ATTENTION,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{source} is not a whole checkpoint, which the next-token loss needs: {error}"
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(f"{source} lacks {len(missing)} tensors, among them {missing[0]!r}")
    check_config(model.config, attention_card(found.card, "a whole decoder").last_layer)
    return WholeDecoder(model).to(device).requires_grad_(False)
