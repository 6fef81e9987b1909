"""Brings one chain to its score by calls to a server of completions.

place            a place among the open streams            at the deadline: cut
  |                                                          |
stream |t|t|t|t|t| ... stop: a verdict by its ids, or only a quoted one: stream |t|t| ...
                             |
forced call                  +-- no verdict: |word|
"""

import asyncio
import time
from contextlib import aclosing

from blockrank_server.models.errors import EngineError, EngineUnavailableError
from blockrank_server.models.reasoning.chain import Chain
from blockrank_server.models.reasoning.chain_pace import ChainPace
from blockrank_server.models.remote.client import CompletionsClient
from blockrank_server.models.remote.completion import Call, Readings, Step
from blockrank_server.models.remote.streams import Streams


class ChainWriter:
    """Writes chains by one server.

    Args:
        readings: which log-probabilities it tells.
        num_vocabulary: the ids that stand for a token; a server that generates others is broken.
        pace: learns how long chains are, and how long a forced verdict takes.
    """

    def __init__(
        self,
        client: CompletionsClient,
        readings: Readings,
        num_vocabulary: int,
        streams: Streams,
        pace: ChainPace,
    ) -> None:
        self._client, self._readings, self._num_vocabulary = client, readings, num_vocabulary
        self._streams, self._pace = streams, pace

    async def write(self, chain: Chain, limit: asyncio.Timeout) -> None:
        """Bring a chain to its score.

        Args:
            limit: not entered yet; where it is over before the chain has ended, the chain is cut.

        Raises:
            EngineError: the server is out of reach, too busy, or sends what is no completion.
        """
        try:
            async with limit, self._streams.place():
                while chain.is_live:
                    await self._extend(chain)
        except TimeoutError:
            if chain.is_live:
                chain.cut()
        else:
            self._pace.ended(len(chain.ids))
        if (ids := chain.forced_ids()) is not None:
            async with self._streams.place(is_urgent=True):
                chain.force(*await self._forced(chain, ids))

    async def _extend(self, chain: Chain) -> None:
        """Write on, until the chain or the server's text ends."""
        rules = chain.rules
        call = Call(
            chain.prompt_ids + chain.ids,
            chain.num_left,
            (rules.yes, rules.no),
            self._readings,
            stops=rules.stops,
        )
        finish, num_steps = None, 0
        async with aclosing(self._client.stream(call)) as deltas:
            async for delta in deltas:
                finish, num_steps = delta.finish, num_steps + len(delta.steps)
                for step in delta.steps:
                    if chain.is_live:
                        self._check(step)
                        chain.feed(step.token, *self._words(chain, step))
                if not chain.is_live and finish is None:
                    return  # the server would write on
        if not chain.is_live:
            return
        if finish is None:
            raise EngineUnavailableError("the engine has broken off a stream", is_lost=True)
        if finish != "stop":
            raise EngineError(
                f"the engine has ended a chain that may go on, finish_reason {finish!r}"
            )
        written = rules.text_of(chain.ids)
        if not (num_steps and any(stop in written[-_near(stop) :] for stop in rules.stops)):
            chain.stop()

    async def _forced(self, chain: Chain, ids: list[int]) -> tuple[float | None, float | None]:
        rules, started_s = chain.rules, time.monotonic()
        words = (rules.yes, rules.no)
        call = Call(ids, 1, words, self._readings, allowed=words)
        async with aclosing(self._client.stream(call)) as deltas:
            steps = [step async for delta in deltas for step in delta.steps]
        if len(steps) != 1:
            raise EngineError(f"the engine was asked for 1 token and gave {len(steps)}")
        self._check(steps[0])
        self._pace.generated(1, time.monotonic() - started_s)
        return self._words(chain, steps[0])

    def _check(self, step: Step) -> None:
        if step.token >= self._num_vocabulary:
            raise EngineError(
                f"the engine generated token {step.token}, the tokenizer has {self._num_vocabulary}"
            )

    def _words(self, chain: Chain, step: Step) -> tuple[float | None, float | None]:
        """Return the log-probabilities of the two words; None where they are not told."""
        rules = chain.rules
        yes, no = step.logprobs.get(rules.yes), step.logprobs.get(rules.no)
        if self._readings == "exact" and (yes is None or no is None):
            raise EngineError("the engine does not tell the log-probabilities it was asked for")
        return yes, no


def _near(stop: str) -> int:
    """Count the last characters of a text that a stop stands in, which its last token may pass."""
    return 2 * len(stop) + 32
