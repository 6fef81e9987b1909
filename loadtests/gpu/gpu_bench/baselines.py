"""Runs what kernels and engine are measured against: torch and transformers as they come."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForCausalLM, PretrainedConfig

from blockrank_server.kernels.segments import Segment
from blockrank_server.models.prompt.request import EncodedRequest

_PREFIX, _TAIL = -1, -2


def owners(segments: Sequence[Segment], device: torch.device) -> torch.Tensor:
    """Return [T] int32: the document each token belongs to, -1 for the prefix, -2 for the tail.

    Args:
        segments: are those of one request: its prefix, its documents, its tail.
    """
    owner = np.full(segments[-1].stop, _PREFIX, np.int32)
    for i, segment in enumerate(segments[1:-1]):
        owner[segment.start : segment.stop] = i
    owner[segments[-1].start :] = _TAIL
    return torch.from_numpy(owner).to(device)


def dense_sdpa(
    q_THD: torch.Tensor, k_TKD: torch.Tensor, v_TKD: torch.Tensor, owner_T: torch.Tensor
) -> Callable[[], torch.Tensor]:
    """Prepare torch's SDPA with a [T, T] mask and repeated key/value heads; it gives [T, H, D]."""
    q, k, v = _heads_first(q_THD, k_TKD, v_TKD)
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    tokens = torch.arange(len(owner_T), device=owner_T.device)
    mask = tokens[:, None] >= tokens
    mask &= (owner_T == _PREFIX) | (owner_T[:, None] == _TAIL) | (owner_T[:, None] == owner_T)
    # As a bias from the start: torch would turn a mask into one in every call.
    bias = torch.zeros(mask.shape, dtype=q.dtype, device=q.device).masked_fill_(~mask, -torch.inf)
    return lambda: scaled_dot_product_attention(q, k, v, bias)[0].transpose(0, 1)


def flash(
    q_THD: torch.Tensor, k_TKD: torch.Tensor, v_TKD: torch.Tensor, segments: Sequence[Segment]
) -> Callable[[], torch.Tensor]:
    """FlashAttention-2 of torch over ragged sequences, one for each segment; result [T, H, D].

    Its keys are those the segment sees and then its own, gathered in every call: causal from the
    last key backwards, which is what a segment means. On the CPU SDPA takes its place.
    """
    keys = [torch.arange(*span) for s in segments for span in (*s.full, (s.start, s.stop))]
    keys_S = torch.cat(keys).to(q_THD.device)
    num_queries = [segment.num_tokens for segment in segments]
    num_keys = [segment.num_full + segment.num_tokens for segment in segments]
    if q_THD.device.type == "cpu":
        return lambda: _by_segment(q_THD, k_TKD[keys_S], v_TKD[keys_S], num_queries, num_keys)
    q_edges, k_edges = (
        torch.tensor([0, *accumulate(sizes)], dtype=torch.int32, device=q_THD.device)
        for sizes in (num_queries, num_keys)
    )

    def call() -> torch.Tensor:
        found: torch.Tensor = torch.ops.aten._flash_attention_forward(
            *(q_THD, k_TKD[keys_S], v_TKD[keys_S], q_edges, k_edges),
            *(max(num_queries), max(num_keys), 0.0, True, False),
        )[0]
        return found

    return call


def _by_segment(
    q_THD: torch.Tensor,
    k_SKD: torch.Tensor,
    v_SKD: torch.Tensor,
    num_queries: Sequence[int],
    num_keys: Sequence[int],
) -> torch.Tensor:
    sizes = list(num_queries), list(num_keys), list(num_keys)
    parts = zip(*map(torch.split, (q_THD, k_SKD, v_SKD), sizes), strict=True)
    found = []
    for each in parts:
        q, k, v = _heads_first(*each)
        visible = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
        out = scaled_dot_product_attention(q, k, v, visible, enable_gqa=True)
        found.append(out[0].transpose(0, 1))
    return torch.cat(found)


def flex(
    q_THD: torch.Tensor, k_TKD: torch.Tensor, v_TKD: torch.Tensor, owner_T: torch.Tensor
) -> Callable[[], torch.Tensor]:
    """Prepare flex_attention with a block mask, compiled on CUDA for this T; it gives [T, H, D]."""

    def visible(_b: Any, _h: Any, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        mine, its = owner_T[query], owner_T[key]
        return (query >= key) & ((its == _PREFIX) | (mine == _TAIL) | (mine == its))

    q, k, v = _heads_first(q_THD, k_TKD, v_TKD)
    on_cuda = q.device.type == "cuda"
    size = len(owner_T)
    # Not compiled, which took longer than its section has: [T, T] fits for 100 documents.
    mask = create_block_mask(visible, None, None, size, size, device=q.device)
    attend: Any = torch.compile(flex_attention, dynamic=False) if on_cuda else flex_attention

    def call() -> torch.Tensor:
        out: torch.Tensor = attend(q, k, v, block_mask=mask, enable_gqa=True)
        return out[0].transpose(0, 1)

    return call


def _heads_first(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Turn each [T, H, D] into [1, H, T, D], contiguous."""
    return tuple(x.transpose(0, 1).contiguous()[None] for x in tensors)


class DenseRanker:
    """Ranks by plain transformers: causal prefill of all layers, then a document's id is decoded.

    Args:
        config: describes the whole checkpoint; its weights are random.
    """

    def __init__(self, config: PretrainedConfig, device: torch.device) -> None:
        with device:
            self._model = AutoModelForCausalLM.from_config(
                config, dtype=torch.bfloat16, attn_implementation="sdpa"
            ).eval()
        self._device = device

    def rank(self, request: EncodedRequest) -> list[int]:
        """Decode greedily as many ids as the highest document id has digits, and what closes it."""
        count = len(str(request.num_documents - 1)) + 1
        token_ids = torch.from_numpy(request.token_ids)[None].long().to(self._device)
        cache, found = None, []
        with torch.inference_mode():
            for _ in range(count):
                out = self._model(
                    token_ids, past_key_values=cache, use_cache=True, logits_to_keep=1
                )
                cache, token_ids = out.past_key_values, out.logits[:, -1:].argmax(-1)
                found.append(token_ids)
        return [int(token) for token in torch.cat(found, 1)[0].tolist()]
