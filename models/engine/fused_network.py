"""Runs the decoder forward only: on CUDA with few launches, on the CPU a few tokens at a time.

The products that take the same input are one (q, k and v; gate and up), and what stands between
products are the kernels of kernels/glue.py: ten launches a layer, where transformers' modules need
39 in bf16 and a hundred in fp8. On the CPU everything but attention runs over slices of the tokens,
whose activations stay in the caches. The modules of transformers hold the weights, and are not
called.

Axes: T = packed tokens, R = signal tokens, C = hidden size, H = query heads, K = key/value heads,
D = head_dim.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig

from blockrank_server.kernels.glue import Activations, Glue, HeadNorm
from blockrank_server.models.engine.batch_rows import BatchRows
from blockrank_server.models.engine.network import Attention, Network, Place
from blockrank_server.models.engine.reader import Reader
from blockrank_server.models.engine.token_slices import (
    ResidualStream,
    Rotary,
    TokenSlice,
    join,
    split,
    takes_fp8,
)
from blockrank_server.models.engine.verdict_reader import VerdictReader
from blockrank_server.models.errors import CheckpointError

SLICE_TOKENS = 256
"""So many tokens of a small model are enough for the CPU's products, and stay in its caches."""
_QKV = ("q_proj", "k_proj", "v_proj")
_GATE_UP = ("gate_proj", "up_proj")
_HEAD_NORMS = ("q_norm", "k_norm")


class FusedNetwork(Network):
    """Has the same layers as Network, and gives the same scores but for rounding.

    Args:
        config: must be of a supported family; it still names all layers of the checkpoint.
        last_layer: 0-based; None keeps every layer whole, norm and head, as in Network.
        glue: computes what stands between the products.
        slice_tokens: run together between two attentions; None runs all tokens of a batch together.

    Raises:
        CheckpointError: the config has too few layers, sliding-window attention, or another
            activation than SiLU.
    """

    def __init__(
        self,
        config: PretrainedConfig,
        last_layer: int | None,
        glue: Glue,
        slice_tokens: int | None = None,
    ) -> None:
        super().__init__(config, last_layer)
        if config.hidden_act != "silu":
            raise CheckpointError(f"hidden_act {config.hidden_act!r} is not supported, only silu")
        self._glue = glue
        self._slice_tokens = slice_tokens
        self._head_dim: int = self.layers[0].self_attn.head_dim
        self._eps: float = config.rms_norm_eps
        self._places = super().places()
        for i, layer in enumerate(self.layers):
            attention = f"layers.{i}.self_attn"
            if i < len(self.whole_layers):
                self._merge(attention, _QKV, "qkv_proj")
                self._merge(f"layers.{i}.mlp", _GATE_UP, "gate_up_proj")
            if hasattr(layer.self_attn, "q_norm"):
                self._stack_head_norms(attention)

    @property
    def takes_fp8(self) -> bool:
        """Say whether the attention of the whole layers is to be rounded to float8."""
        whole = self.whole_layers
        return len(whole) > 0 and takes_fp8(whole[0].self_attn.o_proj)

    def places(self) -> dict[str, Place]:
        """Map the names a checkpoint has for its tensors, without a prefix, to where they stand."""
        return self._places

    def _merge(self, path: str, names: tuple[str, ...], merged: str) -> None:
        """Put one linear layer in the place of several with the same input."""
        module = self.get_submodule(path)
        parts: list[nn.Linear] = [getattr(module, name) for name in names]
        first, start = parts[0], 0
        whole = nn.Linear(
            first.in_features,
            sum(part.out_features for part in parts),
            bias=first.bias is not None,
            device=first.weight.device,
            dtype=first.weight.dtype,
        )
        for name, part in zip(names, parts, strict=True):
            for kind, tensor in part.state_dict().items():
                self._places[f"{path}.{name}.{kind}"] = Place(
                    f"{path}.{merged}.{kind}", start, tensor.shape
                )
            start += part.out_features
            delattr(module, name)
        setattr(module, merged, whole)

    def _stack_head_norms(self, path: str) -> None:
        module = self.get_submodule(path)
        for row, name in enumerate(_HEAD_NORMS):
            weight_D = getattr(module, name).weight
            self._places[f"{path}.{name}.weight"] = Place(
                f"{path}.head_norms_2D", row, weight_D.shape
            )
            delattr(module, name)
        module.head_norms_2D = nn.Parameter(torch.stack([torch.ones_like(weight_D)] * 2))

    def _forward(
        self,
        token_ids_T: torch.Tensor,
        position_ids_T: torch.Tensor,
        attention: Attention,
        reader: Reader,
        rows: BatchRows | None,
    ) -> None:
        hidden_TC = self.embed_tokens(token_ids_T)
        rotary = Rotary(*(x[0] for x in self.rotary_emb(hidden_TC[None], position_ids_T[None])))
        size = self._slice_tokens or max(len(hidden_TC), 1)
        slices = [
            TokenSlice(ResidualStream(hidden, self._glue, self._eps), Rotary(*own))
            for hidden, *own in zip(
                *(torch.split(x, size) for x in (hidden_TC, *rotary)), strict=True
            )
        ]
        for layer in self.whole_layers:
            out = self._attend(layer, slices, attention, reader, rows)
            heads = split(out, size)
            del out
            for part in slices:
                self._add_block(layer, part.stream, heads)
                self._between_steps()
        if self.has_head:
            normed_TC = join([part.stream.normed(self.norm, self.lm_head) for part in slices])
            self._read_verdicts(normed_TC[reader.signal_R], reader)
        else:
            self._read_last_fused(slices, rotary, reader, rows)

    def _attend(
        self,
        layer: Any,
        slices: Sequence[TokenSlice],
        attention: Attention,
        reader: Reader,
        rows: BatchRows | None,
    ) -> Any:
        module, config = layer.self_attn, self.config
        num_heads, num_kv = config.num_attention_heads, config.num_key_value_heads
        norm = self._head_norm(module, num_heads)
        heads_ThD = join(
            [
                self._project(
                    module.qkv_proj, layer.input_layernorm, part, num_heads + num_kv, norm
                )
                for part in slices
            ]
        )
        q_THD, k_UKD, v_UKD = torch.split(heads_ThD, [num_heads, num_kv, num_kv], 1)
        del heads_ThD
        if rows is not None:
            k_UKD, v_UKD = rows.keys(module.layer_idx, k_UKD), rows.values(module.layer_idx, v_UKD)
        if not isinstance(reader, VerdictReader) and reader.reads(module.layer_idx):
            reader.read(module.layer_idx, q_THD[reader.signal_R], k_UKD, module.scaling)
        out = self._attention_step(attention, q_THD, k_UKD, v_UKD, module.scaling)
        return out if self.takes_fp8 else out.flatten(1)

    def _project(
        self,
        product: nn.Module,
        norm: Any,
        part: TokenSlice,
        num_turned: int,
        head_norm: HeadNorm | None,
    ) -> torch.Tensor:
        """Compute [t, h, D] of a slice, and rotate the first heads."""
        qkv_tZ = product(part.stream.normed(norm, product))
        heads_thD = torch.unflatten(qkv_tZ, -1, (-1, self._head_dim))
        self._glue.rotate(heads_thD[:, :num_turned], *part.rotary, head_norm)
        return heads_thD

    def _add_block(self, layer: Any, stream: ResidualStream, heads: deque[Activations]) -> None:
        """Add what attention and the MLP make of the first slice that is left."""
        stream.add(layer.self_attn.o_proj(heads.popleft()))  # nothing else holds them
        mlp, norm = layer.mlp, layer.post_attention_layernorm
        gate_up_TJ = mlp.gate_up_proj(stream.normed(norm, mlp.gate_up_proj))
        gated = self._glue.silu_mul(gate_up_TJ, takes_fp8(mlp.down_proj))
        del gate_up_TJ
        stream.add(mlp.down_proj(gated))

    def _read_last_fused(
        self,
        slices: Sequence[TokenSlice],
        rotary: Rotary,
        reader: Reader,
        rows: BatchRows | None,
    ) -> None:
        assert not isinstance(reader, VerdictReader)
        layer, signal_R = self.layers[-1], reader.signal_R
        module, num_heads = layer.self_attn, self.config.num_attention_heads
        normed_TC = join(
            [part.stream.normed(layer.input_layernorm, module.k_proj) for part in slices]
        )
        q_RHD = module.q_proj(normed_TC[signal_R]).unflatten(-1, (-1, self._head_dim))
        k_TKD = module.k_proj(normed_TC).unflatten(-1, (-1, self._head_dim))
        at_signal = rotary.cos_TD[signal_R], rotary.sin_TD[signal_R]
        self._glue.rotate(q_RHD, *at_signal, self._head_norm(module, num_heads))
        self._glue.rotate(k_TKD, *rotary, self._head_norm(module, 0))
        last = len(self.layers) - 1
        k_UKD = k_TKD if rows is None else rows.keys(last, k_TKD)
        reader.read(last, q_RHD, k_UKD, module.scaling)

    def _head_norm(self, module: Any, num_queries: int) -> HeadNorm | None:
        """Return the norm of queries and keys of one layer, where the family has it."""
        weights_2D = getattr(module, "head_norms_2D", None)
        return None if weights_2D is None else HeadNorm(weights_2D, num_queries, self._eps)
