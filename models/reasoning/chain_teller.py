"""Tells a listener what a chain says as soon as it is certain: whole characters, and no verdict."""

from collections.abc import Sequence

from blockrank_server.models.reasoning.caller import Listener
from blockrank_server.models.reasoning.chain_rules import ChainRules

# What an unfinished character is decoded to.
_UNFINISHED = "\N{REPLACEMENT CHARACTER}"
# No character has more tokens: what is unfinished after so many is no character.
_MAX_UNFINISHED_TOKENS = 8


class ChainTeller:
    """Follows the ids of one chain.

    Args:
        index: that of the chain's document.
    """

    def __init__(self, rules: ChainRules, index: int, listener: Listener) -> None:
        self._rules, self._index, self._listener = rules, index, listener
        # Ids before _num_told are told; those from _context on are decoded with what follows, since
        # a tokenizer may spell a token otherwise where a text begins.
        self._context = self._num_told = self._num_characters = 0

    def fed(self, ids: Sequence[int]) -> None:
        """Tell what is certain of a live chain.

        What may become the verdict is held back.
        """
        self._tell(ids, len(ids) - self._num_held(ids), is_whole=False)

    def ended(self, ids: Sequence[int]) -> None:
        """Tell the rest of a chain, given without its verdict and the end of the text."""
        self._tell(ids, len(ids), is_whole=True)

    def scored(self, score: float, end: str, reading: str) -> None:
        self._listener.scored(self._index, score, end, reading)

    def _tell(self, ids: Sequence[int], stop: int, *, is_whole: bool) -> None:
        if stop <= self._num_told:
            return
        before = self._rules.text_of(ids[self._context : self._num_told])
        after = self._rules.text_of(ids[self._context : stop])
        is_short = stop - self._num_told < _MAX_UNFINISHED_TOKENS
        if after.endswith(_UNFINISHED) and is_short and not is_whole:
            return
        self._context, self._num_told = self._num_told, stop
        if text := after[len(before) :]:
            self._listener.wrote(self._index, self._num_characters, text)
            self._num_characters += len(text)

    def _num_held(self, ids: Sequence[int]) -> int:
        """Count the last ids that the close of a verdict begins with."""
        close = self._rules.close
        lengths = range(min(len(close), len(ids)), 0, -1)
        return next((n for n in lengths if tuple(ids[-n:]) == close[:n]), 0)
