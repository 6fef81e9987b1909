"""Defines the module that is trained: the engine that serves, with a loss on top of its scores."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypedDict, cast

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from blockrank_server.kernels.backend import TORCH_BACKEND, Backend
from blockrank_server.kernels.padded_attention import PaddedAttentionPlan, padded_attention
from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.engine.attention_reader import AttentionReader
from blockrank_server.models.engine.engine import Engine
from blockrank_server.models.engine.network import Network
from blockrank_server.models.engine.whole_decoder import WholeDecoder
from blockrank_server.models.training.config import Loss
from blockrank_server.models.training.examples import Batch, Example
from blockrank_server.models.training.losses import (
    answer_loss,
    contrastive_loss,
    distillation_loss,
    document_logits,
)


class BatchLoss(TypedDict):
    """Holds what the model returns of a batch; a plain dict, as accelerate wants it.

    Attributes:
        loss: [] the weighted sum of the losses, each a mean over lists.
        parts: each loss alone, a mean over lists, detached; with an anchor also told, the share of
            lists of which the anchor tells rightly whether they hold an answer.
        scores: [documents] for each list, detached.
    """

    loss: torch.Tensor
    parts: dict[str, torch.Tensor]
    scores: list[torch.Tensor]


class TrainableRanker(nn.Module):
    """Scores a batch by the serving engine and puts the loss on it.

    The Triton kernels have no backward pass, so the torch path runs on every device.

    Args:
        network: ends at the last read layer, or is the whole decoder where loss.lm is not 0.
        loss: says which losses are computed, with which weights and temperatures.
    """

    def __init__(
        self, network: Network | WholeDecoder, card: Card, device: torch.device, loss: Loss
    ) -> None:
        super().__init__()
        self.network = network
        # A whole decoder is called as the cut network is.
        self._engine = Engine(cast(Network, network), card, device, training_backend(device))
        self._device = device
        self._loss = loss

    def forward(self, batch: Batch) -> BatchLoss:
        """Return loss and scores of a batch."""
        reader, hidden_TC = self._engine.run(batch.packed)
        assert isinstance(reader, AttentionReader)
        scores = reader.scores()
        is_raw = self._loss.logits == "log_sum_exp"
        compared = reader.log_sum_exps() if is_raw else scores
        losses: dict[str, list[torch.Tensor]] = {}
        for compared_N, example in zip(compared, batch.examples, strict=True):
            for name, value in self._document_losses(compared_N, example).items():
                losses.setdefault(name, []).append(value)
        if self._loss.lm:
            assert hidden_TC is not None
            losses["lm"] = self._answer_losses(hidden_TC, batch)
        # A list without a teacher counts as one of no divergence.
        num_lists = len(batch.examples)
        means = {name: torch.stack(values).sum() / num_lists for name, values in losses.items()}
        total = torch.stack([getattr(self._loss, name) * x for name, x in means.items()]).sum()
        parts = {name: value.detach() for name, value in means.items()}
        if self._loss.contrastive and self._loss.anchor is not None:
            parts["told"] = _share_told(compared, batch, self._loss.anchor)
        return {"loss": total, "parts": parts, "scores": [x.detach() for x in scores]}

    def checkpoint_activations(self) -> None:
        """Keep only each layer's input for the backward pass, and compute the layer again there."""
        layers: Any = self.network.layers
        for layer in layers:
            layer.gradient_checkpointing = True
            layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)

    def _document_losses(
        self, compared_N: torch.Tensor, example: Example
    ) -> dict[str, torch.Tensor]:
        loss = self._loss
        logits_N = document_logits(compared_N, loss.temperature, loss.logits)
        found = {}
        if loss.contrastive:
            positive_N = torch.tensor(example.positive, device=self._device)
            anchor = None if loss.anchor is None else loss.anchor / loss.temperature
            found["contrastive"] = contrastive_loss(logits_N, positive_N, anchor)
        if loss.distillation and example.teacher is not None:
            teacher_N = torch.tensor(example.teacher, dtype=logits_N.dtype, device=self._device)
            found["distillation"] = distillation_loss(logits_N, teacher_N, loss.teacher_temperature)
        return found

    def _answer_losses(self, hidden_TC: torch.Tensor, batch: Batch) -> list[torch.Tensor]:
        assert isinstance(self.network, WholeDecoder)
        ends = _tail_ends(batch)
        sizes = [example.num_answer_tokens for example in batch.examples]
        # The token at i is predicted at i - 1.
        rows = [i - 1 for end, n in zip(ends, sizes, strict=True) for i in range(end - n, end)]
        logits_AV = self.network.next_token_logits(hidden_TC[torch.tensor(rows)])
        answers = [
            torch.tensor(example.request.token_ids[-n:], dtype=torch.long, device=self._device)
            for example, n in zip(batch.examples, sizes, strict=True)
        ]
        return [
            answer_loss(logits, answer)
            for logits, answer in zip(torch.split(logits_AV, sizes), answers, strict=True)
        ]


def _share_told(lse: Sequence[torch.Tensor], batch: Batch, anchor: float) -> torch.Tensor:
    """Return the share of lists of which the anchor tells whether they hold an answer."""
    is_above = torch.stack([lse_N.detach().max() for lse_N in lse]) > anchor
    has_answer = [any(example.positive) for example in batch.examples]
    return (is_above == torch.tensor(has_answer, device=is_above.device)).float().mean()


def _tail_ends(batch: Batch) -> Sequence[int]:
    """Find where each list's tail ends on the packed axis."""
    return [
        read.signal[1] + example.request.num_tokens - example.request.signal_span[1]
        for read, example in zip(batch.packed.reads, batch.examples, strict=True)
    ]


def training_backend(device: torch.device) -> Backend:
    """Return the torch path, fit for autocast, with the attention that suits the device."""
    if device.type == "cpu":
        return replace(_BACKEND, block_attention=partial(_attention, _BACKEND.block_attention))
    return replace(
        _BACKEND,
        plan_block_attention=PaddedAttentionPlan,
        block_attention=partial(_attention, padded_attention),
    )


def _attention(
    attend: Callable[..., torch.Tensor],
    q_THD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKD: torch.Tensor,
    plan: Any,
    scale: float,
) -> torch.Tensor:
    """Attend in one dtype: under autocast rotary tables keep fp32 where weights do, values do not.

    It is at least fp32 on the CPU, where the backward pass of bf16 takes twice as long (LOG.md).
    """
    dtype = v_TKD.dtype
    if v_TKD.device.type == "cpu":
        dtype = torch.promote_types(dtype, torch.float32)
    with torch.autocast(v_TKD.device.type, enabled=False):
        out_THD = attend(q_THD.to(dtype), k_TKD.to(dtype), v_TKD.to(dtype), plan, scale)
    return out_THD.to(v_TKD.dtype)


def _span_lse(
    q_RHD: torch.Tensor, k_TKD: torch.Tensor, kv_head_H: Sequence[int], plan: Any, scale: float
) -> list[torch.Tensor]:
    """Compute in fp32 as served: autocast would round the logits to bf16."""
    with torch.autocast(k_TKD.device.type, enabled=False):
        return TORCH_BACKEND.span_lse(q_RHD, k_TKD, kv_head_H, plan, scale)


_BACKEND = replace(TORCH_BACKEND, span_lse=_span_lse)
