"""Scores by their definition, out of transformers' whole model with a dense mask; and the engine as
CUDA runs it, where there is no CUDA."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
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
from blockrank_server.models.engine.document_memory import DocumentMemory
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.models.ranker import Ranker

MODULES = (
    *(block_attention_triton, block_attention_fp8_triton, span_lse_triton),
    *(document_scores_triton, glue_triton),
)
WORDS = ["river", "bank", "money", "tree", "stone", "paris", "capital", "city", "list", "rain"]
# A tiny checkpoint's page has some kilobytes: room for about 20 of the 40 documents.
LIMITS = {"max_documents": 100, "max_document_tokens": 48, "max_query_tokens": 48}
READ = [{"layer": 1, "heads": [2, 0]}, {"layer": 3, "heads": "all"}]
Request = tuple[str, list[str]]
Open = Callable[..., Ranker]
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


class Texts:
    """Draws lists from one pool of texts."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.pool = [self._words(int(n)) for n in self._rng.integers(0, 60, 40)]

    def _words(self, count: int) -> str:
        return " ".join(self._rng.choice(WORDS, count))

    def request(self) -> Request:
        # Some documents are popular.
        places = np.minimum(self._rng.geometric(0.08, self._rng.integers(1, 9)), 40) - 1
        return self._words(3), [self.pool[place] for place in places]

    def batch(self) -> list[Request]:
        return [self.request() for _ in range(self._rng.integers(1, 4))]


@pytest.fixture
def texts() -> Callable[[int], Texts]:
    """Draw lists, by seed."""
    return Texts


@pytest.fixture
def reusable_card(blockrank_card: dict[str, Any], query_free: dict[str, Any]) -> dict[str, Any]:
    return blockrank_card | query_free | {"read": READ, "limits": LIMITS}


def memory_of(ranker: Ranker) -> DocumentMemory:
    memory = ranker._engine._memory
    assert memory is not None
    return memory


def poison(ranker: Ranker) -> Ranker:
    """Let every row that nobody has written give nan."""
    memory_of(ranker)._pool._rows_UKD.fill_(torch.nan)
    return ranker


@pytest.fixture
def poisoned() -> Callable[[Ranker], Ranker]:
    return poison


@pytest.fixture
def rankers(
    open_tiny: Callable[..., Ranker], reusable_card: dict[str, Any]
) -> Callable[..., tuple[Ranker, Ranker]]:
    """Open one ranker that keeps a few documents, and one that keeps none."""

    def open_(
        num_bytes: int = 500_000, dtype: str = "float32", **changed: Any
    ) -> tuple[Ranker, Ranker]:
        keeping = open_tiny(
            "blockrank", reusable_card | changed, dtype=dtype, document_cache_bytes=num_bytes
        )
        return poison(keeping), open_tiny("blockrank", reusable_card | changed, dtype=dtype)

    return open_


@pytest.fixture
def read_meanwhile() -> Callable[..., Iterator[tuple[int, EncodedRequest]]]:
    """Encode requests on three threads, and give each with its place as soon as it is there."""

    def read(ranker: Ranker, asked: Sequence[Request]) -> Iterator[tuple[int, EncodedRequest]]:
        encoded: dict[int, EncodedRequest] = {}

        def encode(first: int) -> None:
            for i in range(first, len(asked), 3):
                encoded[i] = ranker.encode(*asked[i])

        threads = [threading.Thread(target=encode, args=(first,)) for first in range(3)]
        for thread in threads:
            thread.start()
        num_done = 0
        while num_done < len(asked):
            for i in list(encoded):
                yield i, encoded.pop(i)
                num_done += 1
        for thread in threads:
            thread.join()

    return read
