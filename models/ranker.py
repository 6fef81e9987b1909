"""The public Python API: open a checkpoint, rank documents.

from blockrank_server.models.ranker import Ranker

ranker = Ranker.open()
ranker.rank("capital of France", ["Berlin is in Germany.", "Paris is in France."])
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from blockrank_server.models.adapter import merge_adapter
from blockrank_server.models.card import Card, check_heads
from blockrank_server.models.checkpoint import find_checkpoint
from blockrank_server.models.config import load_config
from blockrank_server.models.engine import Engine
from blockrank_server.models.placement import Placement
from blockrank_server.models.prompt import Prompt
from blockrank_server.models.request import Document, EncodedRequest
from blockrank_server.models.text_tokenizer import TextTokenizer
from blockrank_server.models.weights import load_network


@dataclass(frozen=True, slots=True)
class RankerInfo:
    """What was opened, and how it runs.

    Attributes:
        name: of the card.
        revision: commit or checksum of the weights; None for a local folder.
        device: as torch spells it.
        dtype: of the weights and activations.
        attention: which implementation runs.
        num_layers_kept: layers in memory, the last of them in part.
        num_layers: layers of the checkpoint.
        load_seconds: from the call of open to a ranker that can score.
    """

    name: str
    revision: str | None
    device: str
    dtype: str
    attention: Literal["torch", "triton"]
    num_layers_kept: int
    num_layers: int
    load_seconds: float


class Ranker:
    """A checkpoint that ranks. Make one with Ranker.open.

    encode may be called from any thread; everything else from one thread at a time.
    """

    def __init__(self, card: Card, prompt: Prompt, engine: Engine, info: RankerInfo) -> None:
        self._prompt = prompt
        self._engine = engine
        self.card = card
        self.info = info

    @classmethod
    def open(
        cls,
        path_or_name: str | Path = "default",
        *,
        card: str | Path | None = None,
        adapter: str | Path | None = None,
        device: str = "auto",
        dtype: str = "auto",
        revision: str | None = None,
        offline: bool = False,
        cache_dir: str | Path | None = None,
    ) -> Self:
        """Load a checkpoint.

        Args:
            path_or_name: local folder, hub name (owner/repository), or "default".
            card: file to use instead of the checkpoint's own card.
            adapter: folder of a LoRA adapter to merge instead of the card's own.
            device: cpu, cuda, cuda:1, ...; auto takes CUDA where there is one.
            dtype: float32 or bfloat16; auto is bfloat16 on CUDA and float32 on the CPU.
            revision: branch, tag or commit of a hub repository.
            offline: fetch nothing; use what the hub's cache holds.
            cache_dir: for hub files and converted weights; by default the user's cache folder.

        Raises:
            CardError: the card is not valid, or does not fit the checkpoint.
            CheckpointError: a file or tensor is missing, broken or unexpected.
        """
        started = time.perf_counter()
        placement = Placement.choose(device, dtype)
        found = find_checkpoint(
            str(path_or_name),
            card=_path(card),
            revision=revision,
            offline=offline,
            cache_dir=_path(cache_dir),
        )
        config = load_config(found.folder)
        tokenizer = TextTokenizer(found.folder / "tokenizer.json")
        own_card = found.card
        prompt = Prompt(own_card, tokenizer, config.max_position_embeddings)
        check_heads(own_card, config.num_attention_heads)
        last = own_card.last_layer
        network = load_network(found.folder, config, last, placement.device, placement.dtype)
        if (folder := _path(adapter) or found.adapter) is not None:
            merge_adapter(network, folder, last)
        info = RankerInfo(
            name=own_card.name,
            revision=found.revision,
            num_layers_kept=last + 1,
            num_layers=network.num_layers,
            load_seconds=time.perf_counter() - started,
            **placement.names(),
        )
        engine = Engine(network, own_card, placement.device, placement.backend)
        return cls(own_card, prompt, engine, info)

    @property
    def max_score(self) -> float:
        """The largest possible raw score: 1 for a mean of heads, their number for a sum."""
        return self._engine.max_score

    def encode(
        self,
        query: str,
        documents: Sequence[Document],
        *,
        max_document_tokens: int | None = None,
        max_query_tokens: int | None = None,
        truncate: bool = True,
    ) -> EncodedRequest:
        """Token ids of one request, for score. Thread-safe.

        Args:
            query: not empty.
            documents: 1 to card.limits.max_documents; strings or {title, text}.
            max_document_tokens: lowers the card's limit for this request.
            max_query_tokens: lowers the card's limit for this request.
            truncate: cut what is too long; otherwise it is an error.

        Raises:
            InputError: and its kinds; the field, the limit and the value are named.
        """
        return self._prompt.encode(
            query,
            documents,
            max_document_tokens=max_document_tokens,
            max_query_tokens=max_query_tokens,
            truncate=truncate,
        )

    def score(self, batch: Sequence[EncodedRequest]) -> list[list[float]]:
        """Raw score of every document of every request, in input order, by one forward pass."""
        return self._engine.score(batch)

    def warm_up(self) -> None:
        """Score a small request, so that the first caller does not pay for first-time set-up."""
        self.rank("warm up", ["A short document.", "Another one, of a few more words."])

    def rank(self, query: str, documents: Sequence[Document]) -> list[float]:
        """Relevance of each document to the query, in input order; higher is better.

        Scores are relative to the list: of a document-normalised card they sum to 1.

        Raises:
            InputError: and its kinds; the field, the limit and the value are named.
        """
        return self.rank_batch([(query, documents)])[0]

    def rank_batch(self, requests: Iterable[tuple[str, Sequence[Document]]]) -> list[list[float]]:
        """rank for many (query, documents) pairs in one forward pass.

        Raises:
            InputError: and its kinds, for the first request at fault.
        """
        encoded = [self.encode(query, documents) for query, documents in requests]
        return self.score(encoded) if encoded else []


def _path(path: str | Path | None) -> Path | None:
    return Path(path).expanduser() if path is not None else None
