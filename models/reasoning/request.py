"""Defines a request for reasoning, and what becomes of each of its documents."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np

from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.models.prompt.tokenizer import TokenIds
from blockrank_server.models.reasoning.caller import Caller
from blockrank_server.models.reasoning.chain import Chain, End, Reading


@dataclass(frozen=True, slots=True)
class Reasoned:
    """Holds what was written about one document.

    Attributes:
        text: the chain, without its verdict.
        end: what ended it.
        reading: where the score was read.
        num_tokens: those that were generated.
    """

    text: str
    end: End
    reading: Reading
    num_tokens: int

    @classmethod
    def of(cls, chain: Chain) -> Self:
        """Describe a chain that has its score."""
        assert chain.end is not None
        assert chain.reading is not None
        return cls(chain.text, chain.end, chain.reading, len(chain.ids))


class ReasonedScore(NamedTuple):
    """Holds a document's score between 0 and 1, and the chain before it."""

    score: float
    reasoned: Reasoned


@dataclass(frozen=True, slots=True, eq=False)
class ReasoningRequest(EncodedRequest):
    """Holds one request whose documents each have a prompt of their own: the blocks.

    There is no prefix and no tail; positions start at 0 in each block.

    Attributes:
        num_optional: what the chains are expected to cost, in tokens of a prompt.
        caller: knows until when the scores are waited for.
        reasoned: one for each document, once it is scored.
    """

    num_optional: int = 0
    caller: Caller = field(default_factory=Caller)
    reasoned: list[Reasoned] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        prompts: Iterable[TokenIds],
        *,
        num_optional: int,
        truncated_documents: tuple[int, ...],
        query_truncated: bool,
    ) -> Self:
        """Put prompts behind one another."""
        given = list(prompts)
        lengths = np.array([len(ids) for ids in given], np.int32)
        stops = lengths.cumsum(dtype=np.int32)
        spans = np.stack([stops - lengths, stops], axis=1)
        num_tokens = int(stops[-1])
        return cls(
            token_ids=np.concatenate(given),
            position_ids=np.concatenate([np.arange(n, dtype=np.int32) for n in lengths]),
            num_prefix_tokens=0,
            tail_start=num_tokens,
            block_spans=spans,
            scored_spans=spans,
            signal_span=(num_tokens, num_tokens),
            truncated_documents=truncated_documents,
            query_truncated=query_truncated,
            num_optional=num_optional,
        )

    @classmethod
    def own(cls, request: EncodedRequest) -> "ReasoningRequest":
        """Return a request that is one of reasoning.

        Raises:
            TypeError: it is of another ranker.
        """
        if not isinstance(request, ReasoningRequest):
            raise TypeError("the request was not encoded by a ranker of reasoning")
        return request

    def prompts(self) -> Iterator[list[int]]:
        """Give the prompt of each document."""
        for start, stop in self.block_spans.tolist():
            yield self.token_ids[start:stop].tolist()

    @property
    def num_computed_tokens(self) -> int:
        """Count the tokens of the prompts, and what the chains are expected to cost."""
        return self.num_tokens + self.num_optional

    @property
    def num_optional_tokens(self) -> int:
        """Count what the chains are expected to cost: a verdict can be forced without them."""
        return self.num_optional
