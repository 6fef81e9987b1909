"""Runs the decoder: transformers' own modules, cut at the last read layer, with our attention.

Of the last read layer only the input norm, q_proj and k_proj (and their norms) are kept, since a
score needs nothing else of it: no final norm, no LM head. Where a verdict is read instead, all
layers run, the final norm, and two rows of the head. There is no cache object.

Axes: T = packed tokens, U = T and the rows of kept documents, R = signal tokens, H = query heads,
K = key/value heads, D = head_dim, C = hidden size.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import AttentionInterface, AutoModel, PretrainedConfig
from transformers.models.llama.modeling_llama import rotate_half

from blockrank_server.models.checkpoint.model_config import check_config
from blockrank_server.models.engine.batch_rows import BatchRows
from blockrank_server.models.engine.reader import Reader
from blockrank_server.models.engine.verdict_reader import VerdictReader

# (q_THD, k_UKD, v_TKD, scale) -> [T, H, D] over one packed batch, or [T, H * D] rounded to float8
# for a network that takes it so.
Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], Any]
# The name of our attention in transformers' attention interface.
ATTENTION = "blockrank"


def _attend(  # noqa: PLR0913 - transformers' interface, and what we hand through it
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    scaling: float,
    attention: Attention,
    reader: Reader,
    rows: BatchRows | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Answer transformers' attention interface: [1, H, T, D] in, [1, T, H, D] out."""
    q_THD, k_TKD, v_TKD = (x.squeeze(0).transpose(0, 1) for x in (query, key, value))
    layer = module.layer_idx
    assert isinstance(layer, int)
    if rows is not None:
        k_TKD, v_TKD = rows.keys(layer, k_TKD), rows.values(layer, v_TKD)
    if not isinstance(reader, VerdictReader) and reader.reads(layer):
        reader.read(layer, q_THD[reader.signal_R], k_TKD, scaling)
    return attention(q_THD, k_TKD, v_TKD, scaling).unsqueeze(0), None


AttentionInterface.register(ATTENTION, _attend)


class Place(NamedTuple):
    """Says where a checkpoint's tensor stands in the network.

    Attributes:
        parameter: names it.
        start: the first of its rows that the tensor fills.
        shape: that of the tensor.
    """

    parameter: str
    start: int
    shape: torch.Size


class Network(nn.Module):
    """Holds layers 0 .. last_layer of a decoder, the last one reduced to its queries and keys.

    Args:
        config: must be of a supported family; it still names all layers of the checkpoint.
        last_layer: 0-based; None keeps every layer whole, the final norm, and of the head the rows
            of two tokens, no and yes.

    Raises:
        CheckpointError: the config has too few layers, or sliding-window attention.
    """

    def __init__(self, config: PretrainedConfig, last_layer: int | None) -> None:
        super().__init__()
        self.num_layers: int = config.num_hidden_layers
        self.has_head = last_layer is None
        last = self.num_layers - 1 if last_layer is None else last_layer
        check_config(config, last)
        config.num_hidden_layers = last + 1
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[: last + 1]
        self.config = config
        model = AutoModel.from_config(
            config, attn_implementation=ATTENTION, trust_remote_code=False
        )
        self.embed_tokens = model.embed_tokens
        self.layers = model.layers
        self.rotary_emb = model.rotary_emb
        self._between_steps: Callable[[], None] = _do_nothing
        if last_layer is None:
            self.norm = model.norm
            self.lm_head = nn.Linear(config.hidden_size, 2, bias=False)
            return
        cut = self.layers[-1]
        del cut.mlp, cut.post_attention_layernorm, cut.self_attn.v_proj, cut.self_attn.o_proj

    @property
    def whole_layers(self) -> list[Any]:
        """Return the layers of which everything is kept."""
        layers: list[Any] = list(self.layers)
        return layers if self.has_head else layers[:-1]

    @property
    def takes_fp8(self) -> bool:
        """Say whether the attention of the whole layers is to be rounded to float8."""
        return False

    def places(self) -> dict[str, Place]:
        """Map the names a checkpoint has for its tensors, without a prefix, to where they stand."""
        return {name: Place(name, 0, tensor.shape) for name, tensor in self.state_dict().items()}

    def restore_rotary(self, device: torch.device) -> None:
        """Compute the rotary frequencies, which no checkpoint holds, in fp32 on the device."""
        self.rotary_emb = type(self.rotary_emb)(self.config).to(device)

    def forward(
        self,
        token_ids_T: torch.Tensor,
        position_ids_T: torch.Tensor,
        attention: Attention,
        reader: Reader,
        between_steps: Callable[[], None] | None = None,
        rows: BatchRows | None = None,
    ) -> None:
        """Run one packed batch.

        Args:
            token_ids_T: [T] int32 or int64.
            position_ids_T: [T] rotary positions.
            attention: computes the attention of the whole layers.
            reader: collects what the read points see.
            between_steps: called after every step, a few in each layer; may run other
                batches, which then preempt this one. What it raises ends the pass there.
            rows: adds kept documents to the keys and values of every layer, and keeps new ones.
        """
        outer, self._between_steps = self._between_steps, between_steps or _do_nothing
        try:
            self._forward(token_ids_T, position_ids_T, attention, reader, rows)
        finally:
            self._between_steps = outer

    def _forward(
        self,
        token_ids_T: torch.Tensor,
        position_ids_T: torch.Tensor,
        attention: Attention,
        reader: Reader,
        rows: BatchRows | None,
    ) -> None:
        hidden = self.embed_tokens(token_ids_T)[None]
        cos, sin = self.rotary_emb(hidden, position_ids_T[None])
        for layer in self.whole_layers:
            hidden = layer(
                hidden,
                attention_mask=None,
                position_embeddings=(cos, sin),
                attention=partial(self._attention_step, attention),
                reader=reader,
                rows=rows,
            )
            self._between_steps()
        if self.has_head:
            self._read_verdicts(self.norm(hidden[0, reader.signal_R]), reader)
        else:
            self._read_last(hidden[0], cos[0], sin[0], reader, rows)

    def _read_verdicts(self, normed_RC: torch.Tensor, reader: Reader) -> None:
        """Let the logits of no and yes be read, which are computed in fp32."""
        assert isinstance(reader, VerdictReader)
        reader.read_logits(normed_RC.float() @ self.lm_head.weight.float().T)

    def _attention_step(
        self,
        attention: Attention,
        q_THD: torch.Tensor,
        k_TKD: torch.Tensor,
        v_TKD: torch.Tensor,
        scale: float,
    ) -> Any:
        heads = attention(q_THD, k_TKD, v_TKD, scale)
        self._between_steps()
        return heads

    def _read_last(
        self,
        hidden_TC: torch.Tensor,
        cos_TD: torch.Tensor,
        sin_TD: torch.Tensor,
        reader: Reader,
        rows: BatchRows | None,
    ) -> None:
        assert not isinstance(reader, VerdictReader)
        layer, signal_R = self.layers[-1], reader.signal_R
        attention = layer.self_attn
        normed = layer.input_layernorm(hidden_TC)
        q_RHD = attention.q_proj(normed[signal_R]).unflatten(-1, (-1, attention.head_dim))
        k_TKD = attention.k_proj(normed).unflatten(-1, (-1, attention.head_dim))
        if hasattr(attention, "q_norm"):
            q_RHD, k_TKD = attention.q_norm(q_RHD), attention.k_norm(k_TKD)
        q_RHD = _rotate(q_RHD, cos_TD[signal_R], sin_TD[signal_R])
        k_TKD, last = _rotate(k_TKD, cos_TD, sin_TD), len(self.layers) - 1
        if rows is not None:
            k_TKD = rows.keys(last, k_TKD)
        reader.read(last, q_RHD, k_TKD, attention.scaling)


def _do_nothing() -> None:
    """Stand for between_steps where no other batch may run."""


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half: torch.Tensor = rotate_half(x)
    return x * cos[:, None] + half * sin[:, None]
