"""Opens a checkpoint of reasoning and ranks documents, one chain of thought a document."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

from blockrank_server.models.checkpoint.reasoning_card import check_settings
from blockrank_server.models.document_cache.document_cache import CacheStats
from blockrank_server.models.engine.finished_scores import FinishedScores
from blockrank_server.models.engine.ranker_info import RankerInfo
from blockrank_server.models.engine.warm_up import TimedPass, TimedPasses
from blockrank_server.models.files.paths import expand_user
from blockrank_server.models.prompt.document_parts import ExplainOption
from blockrank_server.models.prompt.request import Document, EncodedRequest, check_text
from blockrank_server.models.prompt.tokenizer import Token
from blockrank_server.models.reasoning.chain import Chain
from blockrank_server.models.reasoning.chain_pace import ChainPace
from blockrank_server.models.reasoning.chain_rules import ChainRules
from blockrank_server.models.reasoning.continues import Continues
from blockrank_server.models.reasoning.pair_encoder import PairEncoder
from blockrank_server.models.reasoning.request import Reasoned, ReasonedScore, ReasoningRequest
from blockrank_server.models.remote.pending_chains import PendingChains

# Tokens of prompts and chains side by side, where no limit is given.
_MAX_TOKENS = 65_536
# Steps of generation that the warm-up times.
_WARM_STEPS = 4


class ReasoningRanker:
    """Ranks documents by a checkpoint of reasoning. ReasoningRanker.open makes one.

    encode may be used from any thread; everything else from one thread at a time. No documents are
    kept. Scores are probabilities: they do not depend on what else is in the list.
    """

    documents: None = None
    chunker: None = None
    max_score = 1.0

    def __init__(
        self,
        encoder: PairEncoder,
        rules: ChainRules,
        engine: Continues,
        pace: ChainPace,
        info: RankerInfo,
        memory: Callable[[], tuple[int, int]],
    ) -> None:
        self.card, self.info = encoder.card, info
        self._encoder, self._rules, self._engine, self._pace = encoder, rules, engine, pace
        self._memory = memory

    @classmethod
    def open(  # noqa: PLR0913 - one name for each thing an operator can set
        cls,
        path_or_name: str | Path,
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
        document_cache_bytes: int | Literal["auto"] = 0,
    ) -> Self:
        """Load a checkpoint. Arguments are those of Ranker.open, as far as they apply.

        Args:
            adapter, quantization, document_cache_bytes: are refused but for auto: weights run as
                they are, in full or packed by AWQ, and no documents are kept.
            max_batch_tokens: bounds, about, the tokens of prompts and chains that run side by side.

        Raises:
            CardError: the card is of another kind, not valid, or does not fit the checkpoint or an
                argument.
            CheckpointError: a file or tensor is missing, broken or unexpected.
        """
        started = time.perf_counter()
        check_settings(
            adapter=adapter, quantization=quantization, document_cache_bytes=document_cache_bytes
        )
        # Here and not on top: it imports torch, which RemoteRanker does not need.
        from blockrank_server.models.engine.load_chain_engine import (  # noqa: PLC0415
            load_chain_engine,
        )

        loaded = load_chain_engine(
            str(path_or_name),
            card=card,
            device=device,
            dtype=dtype,
            revision=revision,
            offline=offline,
            cache_dir=expand_user(cache_dir) if cache_dir else None,
            max_tokens=max_batch_tokens or _MAX_TOKENS,
        )
        info = replace(loaded.info, load_seconds=time.perf_counter() - started)
        return cls(loaded.encoder, loaded.rules, loaded.engine, loaded.pace, info, loaded.memory)

    def encode(  # noqa: PLR0913 - one name for each thing a request can say
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
        explain: ExplainOption = False,
    ) -> ReasoningRequest:
        """Make the prompts of one request, for score. Thread-safe. Arguments as Ranker.encode's.

        Raises:
            InputError: or a subclass, which names the field, the limit and the value.
        """
        check_text(cache_salt, "cache_salt")
        return self._encoder.encode(
            query,
            documents,
            max_document_tokens=max_document_tokens,
            max_query_tokens=max_query_tokens,
            truncate=truncate,
            summary=summary,
            instruction=instruction,
            explain=explain,
            tokens_per_chain=self._pace.cost_of_chain(self.card.chain.max_tokens),
        )

    def tokenize(self, text: str) -> list[Token]:
        """Split a text into tokens. Thread-safe; nothing in it is taken for a control token."""
        encoding = self._encoder.tokenize(text)
        return [Token(i, *span) for i, span in zip(encoding.ids, encoding.offsets, strict=True)]

    def score(self, batch: Sequence[EncodedRequest]) -> list[list[float]]:
        """Score every document of every request, in input order.

        Raises:
            DeviceMemoryError: the batch does not fit the device.
        """
        return self.start(batch).result()

    def start(
        self, batch: Sequence[EncodedRequest], between_steps: Callable[[], None] | None = None
    ) -> FinishedScores | PendingChains:
        """Bring the chains of a batch to their scores, here; what was written is in its requests.

        Args:
            batch: is of encode.
            between_steps: called on this thread now and then; may start other batches, which then
                preempt this one. What it raises ends the work there.
        """
        return self._start(batch, self._rules, between_steps)

    def _start(
        self,
        batch: Sequence[EncodedRequest],
        rules: ChainRules,
        between_steps: Callable[[], None] | None = None,
    ) -> FinishedScores:
        requests, rows = chains_of(batch, rules)
        self._engine.finish([each for row in rows for each in row], between_steps)
        for request, row in zip(requests, rows, strict=True):
            request.reasoned[:] = map(Reasoned.of, row)
        return FinishedScores([[each.score for each in row] for row in rows])

    def warm_up(self) -> TimedPasses:
        """Score made-up requests, so that the first caller does not pay for first-time set-up.

        Returns:
            Passes over few prompts and over many, whose verdicts are forced at once: the least
            that a request can take.
        """
        rules = replace(self._rules, max_tokens=min(_WARM_STEPS, self._rules.max_tokens))
        self._start([self._made_up(2, 8)], rules)
        few, many = (self._timed(num, words) for num, words in ((1, 8), (4, 32)))
        self._pace.tokens_per_chain = ChainPace().tokens_per_chain  # made-up chains say nothing
        return few, many, None

    def _timed(self, num_documents: int, num_words: int) -> TimedPass:
        request = self._made_up(num_documents, num_words)
        request.caller.deadline_s = time.monotonic()
        started_s = time.perf_counter()
        self.start([request]).result()
        return TimedPass(request.num_tokens, time.perf_counter() - started_s)

    def _made_up(self, num_documents: int, num_words: int) -> ReasoningRequest:
        num = min(num_documents, self.card.limits.max_documents)
        return self.encode("warm up", [f"{i}" + " word" * num_words for i in range(num)])

    def device_memory(self) -> tuple[int, int]:
        """Count used and total bytes of the device; on the CPU, of the process and the machine."""
        return self._memory()

    def document_cache_stats(self) -> CacheStats:
        """Say that no documents are kept."""
        return CacheStats()

    def rank(
        self, query: str, documents: Sequence[Document], *, instruction: str = ""
    ) -> list[float]:
        """Score the relevance of each document to the query, 0 to 1, in input order.

        Raises:
            InputError: or a subclass, which names the field, the limit and the value.
        """
        return self.score([self.encode(query, documents, instruction=instruction)])[0]

    def explain(
        self, query: str, documents: Sequence[Document], *, instruction: str = ""
    ) -> list[ReasonedScore]:
        """Do as rank does, and return the chain of each document beside its score."""
        request = self.encode(query, documents, instruction=instruction, explain=True)
        [scores] = self.score([request])
        return list(map(ReasonedScore, scores, request.reasoned))


def chains_of(
    batch: Sequence[EncodedRequest], rules: ChainRules
) -> tuple[list[ReasoningRequest], list[list[Chain]]]:
    """Begin a chain for each document of each request.

    Raises:
        TypeError: a request is of another ranker.
    """
    requests = [ReasoningRequest.own(request) for request in batch]
    rows = [
        [Chain(rules, ids, request.caller, i) for i, ids in enumerate(request.prompts())]
        for request in requests
    ]
    return requests, rows
