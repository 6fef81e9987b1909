"""Reads the attention of the card's layers and heads during a forward pass."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Self

import numpy as np
import torch

from blockrank_server.kernels.backend import Backend
from blockrank_server.kernels.document_scores import ScoreRule, document_mass
from blockrank_server.kernels.part_shares import token_shares
from blockrank_server.kernels.span_lse import SpanLsePlanLike
from blockrank_server.kernels.upload import upload
from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.engine.packing import PackedBatch


class AttentionReader:
    """Takes document mass at the card's layers and heads while a batch passes through.

    Args:
        card: holds read points, normalisation and reduction; what the tail sees of a document is
            the batch's affair.
        num_heads: counts the query heads of a layer.
        num_kv_heads: counts the key/value heads of a layer.
        backend: computes the log-sum-exp.
    """

    def __init__(
        self,
        card: Card,
        batch: PackedBatch,
        *,
        num_heads: int,
        num_kv_heads: int,
        device: torch.device,
        backend: Backend,
    ) -> None:
        self._rule = ScoreRule(card.normalise_over, card.reduce_tokens, card.reduce_heads)
        self._backend = backend
        self._plan = backend.plan_span_lse(batch.reads, device, batch.key_rows)
        self._num_documents = batch.num_documents
        self._parts = _PlannedParts.of(batch, device, backend)
        self._group_size = num_heads // num_kv_heads
        self._all_heads = tuple(range(num_heads))
        self._heads = {
            point.layer: self._all_heads if point.heads == "all" else point.heads
            for point in card.read
        }
        self._lse: list[list[torch.Tensor]] = []  # of each layer read, one for each request
        self._part_lse: list[list[torch.Tensor]] = []  # one for each of part_reads

    @property
    def signal_R(self) -> torch.Tensor:
        """Return [R] int64, the signal tokens of all requests on the packed axis."""
        return self._plan.signal_R

    def reads(self, layer: int) -> bool:
        """Tell whether the card reads this layer."""
        return layer in self._heads

    def read(self, layer: int, q_RHD: torch.Tensor, k_TKD: torch.Tensor, scale: float) -> None:
        """Take one layer's attention: [R, H, D] queries of the signal tokens, [T, K, D] keys."""
        heads = self._heads[layer]
        kv_heads = [head // self._group_size for head in heads]
        if heads != self._all_heads:
            q_RHD = q_RHD.index_select(1, _on_device(heads, q_RHD.device))
        self._lse.append(self._backend.span_lse(q_RHD, k_TKD, kv_heads, self._plan, scale))
        if (parts := self._parts) is not None:
            q_RHD = q_RHD.index_select(0, parts.signal_rows)
            self._part_lse.append(self._backend.span_lse(q_RHD, k_TKD, kv_heads, parts.plan, scale))

    def masses(self) -> list[list[torch.Tensor]]:
        """Return [heads, signal tokens, N] of each request and read layer, the lowest first.

        With reduce_tokens = geometric_mean the axis of the signal tokens is 1 long.
        """
        return [
            [document_mass(lse_HrN, num, self._rule) for lse_HrN in layers]
            for layers, num in zip(zip(*self._lse, strict=True), self._num_documents, strict=True)
        ]

    def joined_scores(self) -> torch.Tensor:
        """Reduce to [sum of N + requests] fp32: scores, then the level of each request's list.

        Called after the last read layer.
        """
        return self._backend.document_scores(self._lse, self._num_documents, self._rule)

    def joined_part_shares(self) -> torch.Tensor | None:
        """Reduce to [sum of W x M] fp32: the share of each part in the score of its document.

        Where they are asked for by word of the query, they are those of its first word, then those
        of the next; else W is 1. Called after the last read layer, for the requests that ask, in
        order; None if none does.
        """
        if self._parts is None:
            return None
        shares = []
        for i, (request, owner_M, group_r, num_groups) in enumerate(self._parts.owners):
            lse = [layer[request] for layer in self._lse]
            part_lse = [layer[i] for layer in self._part_lse]
            num = self._num_documents[request]
            share_rM = token_shares(lse, part_lse, owner_M, num, self._rule)
            share_WM = share_rM.new_zeros(num_groups, len(owner_M))
            shares.append(share_WM.index_add_(0, group_r, share_rM).flatten())
        return torch.cat(shares)

    def log_sum_exps(self) -> list[torch.Tensor]:
        """Return [N] fp32 for each request: the mean over heads and signal tokens.

        No softmax over the documents is in it. Where the card takes one head's geometric mean, the
        logarithm of a score is this less what all documents of the list have in common.
        """
        return [
            torch.cat([lse_HrN[..., :num].mean(1) for lse_HrN in layers]).mean(0)
            for layers, num in zip(zip(*self._lse, strict=True), self._num_documents, strict=True)
        ]

    def scores(self) -> list[torch.Tensor]:
        """Reduce to [N] fp32 scores for each request; called after the last read layer."""
        num_documents = list(self._num_documents)
        return list(torch.split(self.joined_scores()[: sum(num_documents)], num_documents))


@dataclass(frozen=True, slots=True, eq=False)
class _PlannedParts:
    """Holds a batch's part_reads as they are computed.

    Attributes:
        signal_rows: int64, their signal tokens among those of the batch.
        owners: of each, its request's place in the batch, the document of each part, the group of
            each signal token, and the number of groups.
    """

    plan: SpanLsePlanLike
    signal_rows: torch.Tensor
    owners: list[tuple[int, torch.Tensor, torch.Tensor, int]]

    @classmethod
    def of(cls, batch: PackedBatch, device: torch.device, backend: Backend) -> Self | None:
        if not batch.part_reads:
            return None
        counts = [read.signal[1] - read.signal[0] for read in batch.reads]
        first = list(accumulate(counts, initial=0))
        asking = [each.request for each in batch.part_reads]
        rows = np.concatenate([np.arange(first[i], first[i + 1]) for i in asking])
        return cls(
            backend.plan_span_lse([each.read for each in batch.part_reads], device, batch.key_rows),
            upload(rows, device),
            [
                (x.request, upload(x.owners, device), upload(x.groups, device), x.num_groups)
                for x in batch.part_reads
            ],
        )


@lru_cache(maxsize=256)  # an index given as a list is copied every time, and waits for the device
def _on_device(heads: tuple[int, ...], device: torch.device) -> torch.Tensor:
    with torch.inference_mode(False):  # the next caller may be training
        return torch.tensor(heads, device=device)
