"""Follows the chain of reasoning about one pair, token by token, to its score. There is no torch.

live --feed--> live
 |  |
 |  +--feed: close and a word--> verdict: the score is read there, or, where a word is not among the
 |          likeliest that an engine tells, as of a chain that ended without one
 +--feed: end of text, max_tokens, max_context; or cut: deadline --> ended without one
          |
          +-- forced_ids fit the context --force--> forced: the score is read after them
          +-- they do not, or nothing can be read --> fallback: the card's own number
"""

from enum import StrEnum

from blockrank_server.models.reasoning.caller import Caller
from blockrank_server.models.reasoning.chain_rules import ChainRules
from blockrank_server.models.reasoning.chain_teller import ChainTeller
from blockrank_server.models.reasoning.verdict import score_of


class End(StrEnum):
    """Names what ended a chain."""

    VERDICT = "verdict"
    END_OF_TEXT = "end_of_text"
    MAX_TOKENS = "max_tokens"
    MAX_CONTEXT = "max_context"
    DEADLINE = "deadline"


class Reading(StrEnum):
    """Names where the score was read: said, forced, or neither."""

    VERDICT = "verdict"
    FORCED = "forced"
    FALLBACK = "fallback"


class Chain:
    """Follows one chain.

    Args:
        prompt_ids: the tokens of the pair's prompt; fewer than rules.max_context.
        index: that of the document among those of its caller.

    Attributes:
        ids: the tokens that were fed.
        end: what ended the chain; None while it is live.
        reading: where the score was read; None until it was.
        yes_logprob, no_logprob: the log-probabilities of the two words where it was read.
    """

    def __init__(
        self, rules: ChainRules, prompt_ids: list[int], caller: Caller, index: int = 0
    ) -> None:
        self.rules, self.prompt_ids, self.caller = rules, prompt_ids, caller
        listener = caller.listener
        self._teller = None if listener is None else ChainTeller(rules, index, listener)
        self.ids: list[int] = []
        self.end: End | None = None
        self.reading: Reading | None = None
        self.yes_logprob = self.no_logprob = 0.0

    @property
    def is_live(self) -> bool:
        """Say whether the chain takes further tokens."""
        return self.end is None

    @property
    def num_tokens(self) -> int:
        """Count the tokens of the prompt, and those fed."""
        return len(self.prompt_ids) + len(self.ids)

    @property
    def text(self) -> str:
        """Return what was written, without the verdict and the end of the text."""
        return self.rules.text_of(self._written())

    @property
    def score(self) -> float:
        """Return the score between 0 and 1, once it was read."""
        assert self.reading is not None
        if self.reading is Reading.FALLBACK:
            return self.rules.otherwise
        return score_of(self.yes_logprob, self.no_logprob)

    @property
    def num_left(self) -> int:
        """Count the tokens that a live chain may still have."""
        rules = self.rules
        return min(rules.max_tokens - len(self.ids), rules.max_context - self.num_tokens)

    def feed(self, token: int, yes_logprob: float | None, no_logprob: float | None) -> None:
        """Add a token, and end the chain where the rules say so.

        Args:
            token: is the likeliest.
            yes_logprob, no_logprob: the log-probabilities that the words had in its place; None
                where the engine does not tell.
        """
        rules, ids = self.rules, self.ids
        ids.append(token)
        close = rules.close
        if token in rules.end_of_text:
            self._end(End.END_OF_TEXT)
        elif token in (rules.yes, rules.no) and tuple(ids[-1 - len(close) : -1]) == close:
            self._end(End.VERDICT)
            if yes_logprob is not None and no_logprob is not None:
                self._read(Reading.VERDICT, yes_logprob, no_logprob)
        elif len(ids) >= rules.max_tokens:
            self._end(End.MAX_TOKENS)
        elif self.num_tokens >= rules.max_context:
            self._end(End.MAX_CONTEXT)
        elif self._teller is not None:
            self._teller.fed(ids)

    def stop(self) -> None:
        """End a live chain whose engine has met an end of the text, and not told its token."""
        self._end(End.END_OF_TEXT)

    def cut(self) -> None:
        """End a live chain, because its deadline is near."""
        self._end(End.DEADLINE)

    def forced_ids(self) -> list[int] | None:
        """Return prompt, chain and what closes it, to read a verdict after; None if it is read.

        Where they and one token more do not fit the context, the score is the card's own number.
        """
        if self.reading is not None:
            return None
        ids = self.prompt_ids + self.rules.forcing_ids(self.text)
        if len(ids) < self.rules.max_context:
            return ids
        self.give_up()
        return None

    def force(self, yes_logprob: float | None, no_logprob: float | None) -> None:
        """Read the score after forced_ids; where a log-probability is not told, give up."""
        if yes_logprob is None or no_logprob is None:
            self.give_up()
        else:
            self._read(Reading.FORCED, yes_logprob, no_logprob)

    def give_up(self) -> None:
        """End the chain, if it is live, and take the card's own number for a score."""
        if self.end is None:
            self._end(End.DEADLINE)
        self._read(Reading.FALLBACK, 0.0, 0.0)

    def _written(self) -> list[int]:
        """Return the ids that were fed, without the verdict and the end of the text."""
        ids = self.ids
        if self.end is End.VERDICT:
            return ids[: -1 - len(self.rules.close)]
        has_end = self.end is End.END_OF_TEXT and ids and ids[-1] in self.rules.end_of_text
        return ids[:-1] if has_end else ids

    def _end(self, end: End) -> None:
        self.end = end
        if self._teller is not None:
            self._teller.ended(self._written())

    def _read(self, reading: Reading, yes_logprob: float, no_logprob: float) -> None:
        self.reading, self.yes_logprob, self.no_logprob = reading, yes_logprob, no_logprob
        if self._teller is not None:
            assert self.end is not None
            self._teller.scored(self.score, self.end, reading)
