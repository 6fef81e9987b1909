"""Scores by their definition, out of transformers' whole model with a dense mask; and the engine as
CUDA runs it, where there is no CUDA."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel

from blockrank_server.kernels import (
    block_attention_fp8_triton,
    block_attention_triton,
    document_scores_triton,
    glue_triton,
    span_lse_triton,
)
from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.prompt.request import EncodedRequest

MODULES = (
    *(block_attention_triton, block_attention_fp8_triton, span_lse_triton),
    *(document_scores_triton, glue_triton),
)
DenseScores = Callable[[Path, EncodedRequest, Card, torch.dtype], list[float]]


def seen_by_the_tail(encoded: EncodedRequest, stride: int) -> torch.Tensor:
    """[T] bool, which tokens before the tail it sees: of documents every stride-th of the block,
    the block's last, and the last scored one where none of these is scored."""
    seen = torch.ones(encoded.num_tokens, dtype=torch.bool)
    spans = zip(encoded.block_spans.tolist(), encoded.scored_spans.tolist(), strict=True)
    for (start, stop), (first, last) in spans:
        kept = {t for t in range(start, stop) if (t - start + 1) % stride == 0 or t == stop - 1}
        if first < last and not kept & set(range(first, last)):
            kept.add(last - 1)
        seen[start:stop] = torch.tensor([t in kept for t in range(start, stop)], dtype=torch.bool)
    return seen


def visible(encoded: EncodedRequest, card: Card) -> torch.Tensor:
    """[T, T] bool, from the definition of the masks, token by token."""
    causal = torch.ones(encoded.num_tokens, encoded.num_tokens, dtype=torch.bool).tril()
    if card.mask == "causal":
        return causal
    prefix, tail = -1, encoded.num_documents
    owner = torch.full((encoded.num_tokens,), prefix)
    for i, (start, stop) in enumerate(encoded.block_spans):
        owner[start:stop] = i
    owner[encoded.tail_start :] = tail
    same, is_document = owner[:, None] == owner, (owner != prefix) & (owner != tail)
    seen = causal & (same | (owner == prefix))
    if card.document_attention == "full":
        seen |= same & is_document
    return seen | causal & (owner[:, None] == tail) & seen_by_the_tail(encoded, card.tail_stride)


@pytest.fixture(scope="session")
def dense_scores() -> DenseScores:
    """Compute the scores of one request by its definition."""

    def scores(
        folder: Path, encoded: EncodedRequest, card: Card, dtype: torch.dtype
    ) -> list[float]:
        model = AutoModel.from_pretrained(folder, attn_implementation="eager", dtype=dtype).eval()
        mask = torch.zeros(1, 1, encoded.num_tokens, encoded.num_tokens, dtype=dtype)
        mask.masked_fill_(~visible(encoded, card), torch.finfo(dtype).min)
        with torch.no_grad():
            attentions = model(
                torch.from_numpy(encoded.token_ids)[None].long(),
                position_ids=torch.from_numpy(encoded.position_ids)[None].long(),
                attention_mask=mask,
                output_attentions=True,
                use_cache=False,
            ).attentions
        heads = []
        for point in card.read:
            chosen = slice(None) if point.heads == "all" else list(point.heads)
            heads.append(attentions[point.layer][0, chosen, slice(*encoded.signal_span)].double())
        probability = torch.cat(heads)  # [heads, signal tokens, T]; 0 where the mask hides a key
        mass = torch.stack([probability[..., a:b].sum(-1) for a, b in encoded.scored_spans], -1)
        if card.normalise_over == "documents":
            mass = mass / mass.sum(-1, keepdim=True)
        if card.reduce_tokens == "geometric_mean":
            mass = mass.log().mean(1, keepdim=True).exp()
            mass = mass / mass.sum(-1, keepdim=True)
        per_head = mass.mean(1)
        reduced = per_head.mean(0) if card.reduce_heads == "mean" else per_head.sum(0)
        found: list[float] = reduced.tolist()
        return found

    return scores


@pytest.fixture
def kernel_launches(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts launches of the Triton kernels, which compute nothing from now on; what surrounds a
    launch, and the memory it takes, is as on a Hopper card."""
    counts: Counter[str] = Counter()

    class Counted:
        def __init__(self, name: str) -> None:
            self.name = name

        def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
            def launch(*_: Any, **__: Any) -> None:
                counts[self.name] += 1

            return launch

    for module in MODULES:
        if hasattr(module, "arch_of"):
            monkeypatch.setattr(module, "arch_of", lambda _: "hopper")
        for name in [name for name in vars(module) if name.endswith("_kernel")]:
            monkeypatch.setattr(module, name, Counted(name))
    return counts
