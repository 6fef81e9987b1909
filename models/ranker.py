"""Opens a checkpoint and ranks documents: this is the public Python API.

from blockrank_server.models.ranker import Ranker
ranker = Ranker.open()
ranker.rank("capital of France", ["Berlin is in Germany.", "Paris is in France."])
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Literal, Self, Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from blockrank_server.models.checkpoint.any_card import PackedCard
from blockrank_server.models.checkpoint.checkpoint import find_checkpoint
from blockrank_server.models.checkpoint.model_config import load_model_config
from blockrank_server.models.document_cache.document_cache import CacheStats
from blockrank_server.models.engine.document_memory import DOCUMENT_STORE_BYTES, DocumentBounds
from blockrank_server.models.engine.engine import Engine
from blockrank_server.models.engine.load_engine import load_engine
from blockrank_server.models.engine.memory import used_and_total_bytes
from blockrank_server.models.engine.memory_plan import MemoryPlan
from blockrank_server.models.engine.pending_scores import PendingScores
from blockrank_server.models.engine.placement import Placement
from blockrank_server.models.engine.ranker_info import RankerInfo
from blockrank_server.models.engine.warm_up import TimedPasses, warm_up
from blockrank_server.models.files.paths import expand_user
from blockrank_server.models.known_documents import KnownDocuments
from blockrank_server.models.prompt.chunker import Chunker
from blockrank_server.models.prompt.encoder import AnyEncoder, make_encoder
from blockrank_server.models.prompt.explanation import ExplainedScore, explanations
from blockrank_server.models.prompt.rank_options import ExplainOptions, RankOptions
from blockrank_server.models.prompt.request import Document, EncodedRequest, check_text
from blockrank_server.models.prompt.tokenizer import TextTokenizer, Token
from blockrank_server.models.score_scale import ScoreScale


class Ranker:
    """Ranks documents by a checkpoint. Ranker.open makes one.

    encode, chunker (it cuts long documents) and documents, what is kept of documents if any are,
    may be used from any thread; everything else from one thread at a time.
    """

    def __init__(
        self,
        card: PackedCard,
        encoder: AnyEncoder,
        engine: Engine,
        info: RankerInfo,
        max_batch_tokens: int | None,
    ) -> None:
        self._encoder, self._engine, self._max_batch_tokens = encoder, engine, max_batch_tokens
        self._scale = ScoreScale.of(card, engine.max_score)
        memory = engine.document_memory
        self.documents = None if memory is None else KnownDocuments(encoder, memory, info.numbers())
        self.card, self.info, self.chunker = card, info, Chunker(encoder)

    @classmethod
    def open(  # noqa: PLR0913 - one name for each thing an operator can set
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
        max_batch_tokens: int | None = None,
        quantization: str = "auto",
        cuda_graphs: str = "auto",
        document_cache_bytes: int | Literal["auto"] = 0,
        document_store: str | Path | None = None,
        document_store_bytes: int = DOCUMENT_STORE_BYTES,
    ) -> Self:
        """Load a checkpoint.

        Args:
            path_or_name: names a local folder, a hub repository (owner/repository), or "default".
            card: is a file or the name of a built-in card, used instead of the checkpoint's own.
            adapter: is the folder of a LoRA adapter to merge instead of the card's own.
            device: cpu, cuda, cuda:1, ...; auto takes CUDA where there is one.
            dtype: float32 or bfloat16; auto is bfloat16 where products in it are fast.
            revision: is a branch, tag or commit of a hub repository.
            offline: fetches nothing, and uses what the hub's cache holds.
            cache_dir: keeps hub files and converted weights; by default the user's cache folder.
            max_batch_tokens: tokens of the largest batch to come; it must fit the device's memory.
            quantization: auto, none, fp8, dynamic_int8, int8 or int4 (models/README.md).
            cuda_graphs: auto runs small batches as graphs on CUDA after warm_up; off runs none.
            document_cache_bytes: bounds the keys and values that are kept of documents, so that
                those which come back are not computed again; auto is a quarter of what is left.
            document_store: keeps them in this folder, too, within document_store_bytes.

        Raises:
            CardError: the card is not valid, or does not fit the checkpoint.
            CheckpointError: a file or tensor is missing, broken or unexpected; or the device is
                unknown, too old, or has too little memory; or documents cannot be kept.
        """
        started = time.perf_counter()
        cache = expand_user(cache_dir) if cache_dir else None
        found = find_checkpoint(
            str(path_or_name), card=card, revision=revision, offline=offline, cache_dir=cache
        ).with_adapter(expand_user(adapter) if adapter else None)
        placement = Placement.choose(device, dtype, quantization, found.card, cuda_graphs)
        config = load_model_config(found.folder)
        tokenizer = TextTokenizer(found.folder / "tokenizer.json")
        encoder = make_encoder(found.card, tokenizer, config.max_position_embeddings)
        plan = MemoryPlan.of(config, found.card, placement, document_cache_bytes, max_batch_tokens)
        bounds = DocumentBounds(plan.document_cache_bytes, document_store, document_store_bytes)
        engine = load_engine(found, config, placement, bounds, tokenizer)
        info = RankerInfo(
            name=found.card.name,
            revision=found.served_revision(),
            num_layers_kept=engine.num_layers_kept,
            num_layers=engine.num_layers,
            load_seconds=time.perf_counter() - started,
            **plan._asdict(),
            **placement.names(),
        )
        return cls(found.card, encoder, engine, info, max_batch_tokens)

    @property
    def max_score(self) -> float:
        """Return the largest possible raw score: 1 for a mean of heads, their number for a sum."""
        return self._engine.max_score

    def encode(  # noqa: PLR0913 - one name for each field of a request
        self,
        query: str,
        documents: Sequence[Document],
        *,
        max_document_tokens: int | None = None,
        max_query_tokens: int | None = None,
        truncate: bool = True,
        summary: str = "",
        instruction: str = "",
        cache_salt: str = "",
        explain: bool | Literal["tokens"] = False,
    ) -> EncodedRequest:
        """Make token ids of one request, for score. Thread-safe.

        Args:
            query, documents: neither empty; card.limits.max_documents strings or {title, text}.
            max_document_tokens, max_query_tokens: lower the card's limits for this request.
            truncate: allows cutting what is too long; otherwise it is an error.
            summary, instruction: where the card has a place for it; else blank (models/README.md).
            cache_salt: documents are found again only with the salt they were kept with.
            explain: asks where scores come from, too; "tokens" tells it more finely.

        Raises:
            InputError: or a subclass, which names the field, the limit and the value.
        """
        check_text(cache_salt, "cache_salt")
        find = None if self.documents is None else self.documents.find
        return self._encoder.encode(
            query,
            documents,
            max_document_tokens=max_document_tokens,
            max_query_tokens=max_query_tokens,
            truncate=truncate,
            summary=summary,
            instruction=instruction,
            find=find and partial(find, salt=cache_salt, accepts_cut=truncate),
            explain=explain,
        )

    def tokenize(self, text: str) -> list[Token]:
        """Split a text into tokens. Thread-safe; nothing in it is taken for a control token."""
        encoding = self._encoder.tokenize(text)
        return [Token(i, *span) for i, span in zip(encoding.ids, encoding.offsets, strict=True)]

    def score(self, batch: Sequence[EncodedRequest]) -> list[list[float]]:
        """Return the raw scores of all documents, in input order, by one forward pass.

        Raises:
            DeviceMemoryError: neither the batch nor its halves fit the device.
        """
        return self._engine.score(batch)

    def head_masses(self, batch: Sequence[EncodedRequest]) -> list[NDArray[np.float32]]:
        """Return [heads, N] for every request: what each head says alone, lowest layer first."""
        return self._engine.head_masses(batch)

    def start(
        self, batch: Sequence[EncodedRequest], between_steps: Callable[[], None] | None = None
    ) -> PendingScores:
        """Launch the forward pass here, wait for it in PendingScores.result: see Engine.start."""
        return self._engine.start(batch, between_steps)

    def warm_up(self) -> TimedPasses:
        """Score made-up requests, so that the first caller does not pay for first-time set-up.

        With the Triton kernels this compiles every variant the card can need, and runs a batch of
        the size the ranker was opened for. Passes over few tokens, over many, and of known
        documents, where any are kept, are returned.

        Raises:
            DeviceMemoryError: that batch does not fit after all.
        """
        with nullcontext() if self.documents is None else self.documents.rehearsing() as find:
            tokens, has_kernels = self._max_batch_tokens, self.info.attention == "triton"
            capture, score = self._engine.capture_graphs, self.score
            return warm_up(score, self._encoder, tokens, find, capture, has_kernels=has_kernels)

    def device_memory(self) -> tuple[int, int]:
        """Count used and total bytes of the device; on the CPU, of the process and the machine."""
        return used_and_total_bytes(torch.device(self.info.device))

    def document_cache_stats(self) -> CacheStats:
        """Say what the document cache has done and holds: nothing, where no documents are kept."""
        return CacheStats() if self.documents is None else self.documents.stats()

    def rank(
        self, query: str, documents: Sequence[Document], **options: Unpack[RankOptions]
    ) -> list[float]:
        """Score the relevance of each document to the query, in input order; higher is better.

        They are probabilities if the card has a calibration (models/SCORES.md) or says yes and no;
        else they compare inside the list only. Options do here what they do in encode.

        Raises:
            InputError: or a subclass, which names the field, the limit and the value.
        """
        return self._scale.served(self.start([self.encode(query, documents, **options)]))[0]

    def explain(
        self, query: str, documents: Sequence[Document], **options: Unpack[ExplainOptions]
    ) -> list[ExplainedScore]:
        """Do as rank does, for up to 100 documents, and tell where in each its score comes from."""
        options.setdefault("explain", True)
        pending = self.start([request := self.encode(query, documents, **options)])
        [scores], [shares] = self._scale.served(pending), pending.part_shares()
        return list(map(ExplainedScore, scores, explanations(request, shares)))

    def rank_batch(self, requests: Iterable[tuple[str, Sequence[Document]]]) -> list[list[float]]:
        """Do as rank does, for many (query, documents) pairs in one forward pass.

        Raises:
            InputError: or a subclass, for the first request at fault.
        """
        encoded = [self.encode(query, documents) for query, documents in requests]
        return self._scale.served(self.start(encoded)) if encoded else []
