"""Runs chains side by side, a row each: prompts first, then a token of every live chain a step.

    prompts |-------|            row 0 ended: its verdict is forced, or read already, and the
    row 0           |t|t|t|      last row takes its place; so a step computes live chains alone
    row 1           |t|t|t|t|t|

Axes: T = tokens that are added, R = rows they are added to, C = hidden size, V = vocabulary.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain as chained
from typing import Any, NamedTuple, cast

import torch

from blockrank_server.models.engine.attention_reader import AttentionReader
from blockrank_server.models.engine.chain_cache import Addition, ChainCache
from blockrank_server.models.engine.whole_decoder import WholeDecoder
from blockrank_server.models.reasoning.caller import Caller
from blockrank_server.models.reasoning.chain import Chain
from blockrank_server.models.reasoning.chain_pace import ChainPace

# Tokens of one pass over prompts, padded: its hidden states and masks stay small beside the cache.
_PASS_TOKENS = 4096


class Reading(NamedTuple):
    """Holds the likeliest next token of a row, and the log-probabilities of the two words."""

    token: int
    yes_logprob: float
    no_logprob: float


class _ReadsNothing:
    """Stands in for a reader of attention."""

    def reads(self, layer: int) -> bool:
        del layer
        return False


class LiveChains:
    """Brings chains to their scores.

    Args:
        chains: at least one; all of one card.
        waiting: counts the tokens of the prompts that each caller has waiting besides.
        num_vocabulary: the ids that stand for a token; the head may have more rows.
        between_steps: called after each layer of a pass over prompts, and after each step.
    """

    def __init__(
        self,
        decoder: WholeDecoder,
        chains: Sequence[Chain],
        waiting: Callable[[Caller], int],
        pace: ChainPace,
        num_vocabulary: int,
        between_steps: Callable[[], None] | None,
    ) -> None:
        self._decoder, self._chains = decoder, list(chains)
        self._waiting, self._pace, self._num_vocabulary = waiting, pace, num_vocabulary
        self._between_steps = between_steps
        self._paused_s = 0.0
        weight = decoder.embed_tokens.weight
        self._device = weight.device
        longest = max(len(each.prompt_ids) for each in chains)
        self._cache = ChainCache(decoder.config, len(chains), longest, weight.device, weight.dtype)

    def run(self) -> None:
        """Bring every chain to its score."""
        self._feed(self._read_prompts())
        while self._chains:
            started_s = self._now_s()
            num_tokens = len(self._chains)
            rows = range(num_tokens)
            lasts = [each.ids[-1:] for each in self._chains]
            starts = [each.num_tokens - 1 for each in self._chains]
            readings = self._extend(rows, lasts, starts)
            self._pace.generated(num_tokens, self._now_s() - started_s)
            self._pause()
            self._feed(readings)

    def _read_prompts(self) -> list[Reading]:
        """Read all prompts; what they begin with alike is read once."""
        started_s = self._now_s()
        prompts = [each.prompt_ids for each in self._chains]
        num_shared = _num_shared(prompts)
        if num_shared:
            self._extend([0], [prompts[0][:num_shared]], [0], is_long=True)
            self._cache.spread(num_shared)
        rests = [ids[num_shared:] for ids in prompts]
        readings = self._extend(
            range(len(prompts)), rests, [num_shared] * len(prompts), is_long=True
        )
        num_tokens = num_shared + sum(map(len, rests))
        self._pace.read(num_tokens, self._now_s() - started_s)
        return readings

    def _feed(self, readings: Sequence[Reading]) -> None:
        """Give every chain its next token, and take out those that have ended."""
        for each, reading in zip(self._chains, readings, strict=True):
            each.feed(*reading)
            if not each.is_live:
                self._pace.ended(len(each.ids))
        self._cut_late()
        self._force()
        for row in reversed(range(len(self._chains))):
            if not self._chains[row].is_live:
                last = self._chains.pop()
                if row < len(self._chains):
                    self._chains[row] = last
                    self._cache.move(len(self._chains), row)

    def _cut_late(self) -> None:
        """Cut the chains whose callers' deadlines are near, and give up those of callers gone."""
        now_s = time.monotonic()
        for caller in {id(each.caller): each.caller for each in self._chains}.values():
            live = [each for each in self._chains if each.caller is caller and each.is_live]
            if caller.is_gone():
                for each in live:
                    each.give_up()
                continue
            num_tokens = self._waiting(caller) + sum(len(each.ids) for each in live)
            if now_s + self._pace.forcing_s(num_tokens) >= caller.deadline_s:
                for each in live:
                    each.cut()

    def _force(self) -> None:
        """Read the verdicts of chains that ended without one; what is kept of prompts is used."""
        rows, rests, starts = [], [], []
        for row, each in enumerate(self._chains):
            if not each.is_live and (ids := each.forced_ids()) is not None:
                rows.append(row)
                starts.append(len(each.prompt_ids))
                rests.append(ids[len(each.prompt_ids) :])
        if rows:
            for row, reading in zip(rows, self._extend(rows, rests, starts), strict=True):
                self._chains[row].force(reading.yes_logprob, reading.no_logprob)

    def _extend(
        self,
        rows: Sequence[int],
        ids: Sequence[list[int]],
        starts: Sequence[int],
        *,
        is_long: bool = False,
    ) -> list[Reading]:
        """Add tokens to rows from positions on, in passes of bounded size; read what follows."""
        stop = max(start + len(each) for start, each in zip(starts, ids, strict=True))
        self._cache.ensure(stop, len(self._chains))
        at_a_time = max(1, _PASS_TOKENS // max(map(len, ids)))
        readings: list[Reading] = []
        for first in range(0, len(rows), at_a_time):
            part = slice(first, first + at_a_time)
            lengths = list(map(len, ids[part]))
            added = Addition.of(rows[part], starts[part], lengths, self._device)
            tokens_T = torch.tensor(list(chained.from_iterable(ids[part])), device=self._device)
            readings += self._pass(tokens_T, added, is_long=is_long)
        return readings

    def _pass(self, tokens_T: torch.Tensor, added: Addition, *, is_long: bool) -> list[Reading]:
        decoder = self._decoder
        hidden = decoder.embed_tokens(tokens_T)[None]
        cos_sin = decoder.rotary_emb(hidden, added.position_T[None])
        reader = cast(AttentionReader, _ReadsNothing())
        for i, layer in enumerate(decoder.layers):
            attention: Any = partial(self._cache.attend, i, added)
            hidden = layer(
                hidden,
                attention_mask=None,
                position_embeddings=cos_sin,
                attention=attention,
                reader=reader,
            )
            if is_long:
                self._pause()
        logits_RV = decoder.next_token_logits(hidden[0][added.last_R]).float()
        rules = self._chains[0].rules
        words_R2 = logits_RV.log_softmax(-1)[:, [rules.yes, rules.no]]
        token_R = logits_RV[:, : self._num_vocabulary].argmax(-1)
        return [
            Reading(token, *words)
            for token, words in zip(token_R.tolist(), words_R2.tolist(), strict=True)
        ]

    def _pause(self) -> None:
        """Let others run, whose time is not this batch's."""
        if self._between_steps is not None:
            started_s = time.monotonic()
            self._between_steps()
            self._paused_s += time.monotonic() - started_s

    def _now_s(self) -> float:
        return time.monotonic() - self._paused_s


def _num_shared(prompts: Sequence[list[int]]) -> int:
    """Count the tokens with which all begin; each keeps one, to predict the next one from."""
    if len(prompts) < 2:
        return 0
    shortest = min(map(len, prompts)) - 1
    columns = zip(*(ids[:shortest] for ids in prompts), strict=True)
    return next((i for i, column in enumerate(columns) if len(set(column)) > 1), shortest)
