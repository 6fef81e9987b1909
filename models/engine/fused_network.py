"""Runs the decoder forward only: on CUDA with few launches, on the CPU a few tokens at a time.

The products that take the same input are one (q, k and v; gate and up), and what stands between
products are the kernels of kernels/glue.py: ten launches a layer, where transformers' modules need
39 in bf16 and a hundred in fp8. On the CPU everything but attention runs over slices of the tokens,
whose activations stay in the caches. Few tokens run as CUDA graphs between
two attentions (cuda_graphs.py). The modules of transformers hold the weights, and are not called.

Axes: T = packed tokens, R = signal tokens, C = hidden size, H = query heads, K = key/value heads,
D = head_dim.
"""

from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from transformers import PretrainedConfig

from blockrank_server.kernels.glue import Activations, Glue, HeadNorm
from blockrank_server.models.engine.batch_rows import BatchRows
from blockrank_server.models.engine.cuda_graphs import (
    BUCKETS,
    Buffers,
    Capture,
    GraphedPass,
    TokenGraphs,
)
from blockrank_server.models.engine.merged_network import MergedNetwork
from blockrank_server.models.engine.network import Attention
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


class FusedNetwork(MergedNetwork):
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
        self._graphs: TokenGraphs | None = None
        self._head_dim: int = self.layers[0].self_attn.head_dim
        self._eps: float = config.rms_norm_eps

    @property
    def takes_fp8(self) -> bool:
        """Say whether the attention of the whole layers is to be rounded to float8."""
        whole = self.whole_layers
        return len(whole) > 0 and takes_fp8(whole[0].self_attn.o_proj)

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
        with self._taken(len(hidden_TC)) as graphed:
            if graphed is None:
                slices = self._run_layers(hidden_TC, rotary, attention, reader, rows)
            else:
                graphed.begin(hidden_TC, *rotary)
                slices = self._replay_layers(graphed, attention, reader, rows)
            del hidden_TC
            if self.has_head:
                normed_TC = join([part.stream.normed(self.norm, self.lm_head) for part in slices])
                self._read_verdicts(normed_TC[reader.signal_R], reader)
            else:
                self._read_last_fused(slices, rotary, reader, rows)

    def _taken(self, num_tokens: int) -> AbstractContextManager[GraphedPass | None]:
        return nullcontext() if self._graphs is None else self._graphs.taken(num_tokens)

    def _run_layers(
        self,
        hidden_TC: torch.Tensor,
        rotary: Rotary,
        attention: Attention,
        reader: Reader,
        rows: BatchRows | None,
    ) -> list[TokenSlice]:
        size = self._slice_tokens or max(len(hidden_TC), 1)
        slices = [
            self._slice(*parts)
            for parts in zip(*(torch.split(x, size) for x in (hidden_TC, *rotary)), strict=True)
        ]
        for layer in self.whole_layers:
            heads_ThD = join([self._heads(layer, part) for part in slices])
            out = self._attend(layer, heads_ThD, attention, reader, rows)
            del heads_ThD
            heads = split(out, size)
            del out
            for part in slices:
                self._add_block(layer, part.stream, heads)
                self._between_steps()
        return slices

    def _replay_layers(
        self, graphed: GraphedPass, attention: Attention, reader: Reader, rows: BatchRows | None
    ) -> list[TokenSlice]:
        buffers = graphed.buffers
        graphed.replay(0)
        for i, layer in enumerate(self.whole_layers):
            graphed.put(self._attend(layer, buffers.heads_ThD, attention, reader, rows))
            graphed.replay(i + 1)
            self._between_steps()
        return [self._slice(buffers.hidden_TC, buffers.cos_TD, buffers.sin_TD)]

    def capture(self, capture: Capture, buckets: Sequence[int] = BUCKETS) -> None:
        """Capture what stands between attentions, for batches of up to the last bucket's tokens.

        Called in inference mode, with the device current, where passes run; once, then in vain.

        Args:
            capture: makes a graph of what is launched.
            buckets: numbers of tokens, ascending.
        """
        if self._graphs is not None:
            return
        config, weight = self.config, self.embed_tokens.weight
        buffers = Buffers.zeros(
            buckets[-1],
            config.hidden_size,
            (config.num_attention_heads, config.num_key_value_heads, self._head_dim),
            device=weight.device,
            dtype=weight.dtype,
            is_fp8=self.takes_fp8,
        )
        pieces = [partial(self._piece, i) for i in range(len(self.whole_layers) + 1)]
        self._graphs = TokenGraphs(buffers, pieces, capture, buckets)

    def _piece(self, i: int, buffers: Buffers) -> None:
        """Compute from the result of one layer's attention to the next layer's heads."""
        whole = self.whole_layers
        part = self._slice(buffers.hidden_TC, buffers.cos_TD, buffers.sin_TD)
        if i > 0:
            self._add_block(whole[i - 1], part.stream, deque([buffers.attention_TX]))
        if i < len(whole):
            buffers.heads_ThD.copy_(self._heads(whole[i], part))
        else:
            part.stream.settle()

    def _slice(
        self, hidden_TC: torch.Tensor, cos_TD: torch.Tensor, sin_TD: torch.Tensor
    ) -> TokenSlice:
        stream = ResidualStream(hidden_TC, self._glue, self._eps)
        return TokenSlice(stream, Rotary(cos_TD, sin_TD))

    def _attend(
        self,
        layer: Any,
        heads_ThD: torch.Tensor,
        attention: Attention,
        reader: Reader,
        rows: BatchRows | None,
    ) -> Any:
        module, config = layer.self_attn, self.config
        num_heads, num_kv = config.num_attention_heads, config.num_key_value_heads
        q_THD, k_UKD, v_UKD = torch.split(heads_ThD, [num_heads, num_kv, num_kv], 1)
        del heads_ThD
        if rows is not None:
            k_UKD, v_UKD = rows.keys(module.layer_idx, k_UKD), rows.values(module.layer_idx, v_UKD)
        if not isinstance(reader, VerdictReader) and reader.reads(module.layer_idx):
            reader.read(module.layer_idx, q_THD[reader.signal_R], k_UKD, module.scaling)
        out = self._attention_step(attention, q_THD, k_UKD, v_UKD, module.scaling)
        return out if self.takes_fp8 else out.flatten(1)

    def _heads(self, layer: Any, part: TokenSlice) -> torch.Tensor:
        """Compute queries, keys and values of a slice, [t, h, D], and rotate the first two."""
        module, config = layer.self_attn, self.config
        num_heads = config.num_attention_heads
        qkv_tZ = module.qkv_proj(part.stream.normed(layer.input_layernorm, module.qkv_proj))
        heads_thD = torch.unflatten(qkv_tZ, -1, (-1, self._head_dim))
        turned_thD = heads_thD[:, : num_heads + config.num_key_value_heads]
        self._glue.rotate(turned_thD, *part.rotary, self._head_norm(module, num_heads))
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
