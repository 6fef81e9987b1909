"""Continues chains in this process: the local engine of reasoning."""

from collections.abc import Callable, Sequence

import torch

from blockrank_server.models.engine.live_chains import LiveChains
from blockrank_server.models.engine.whole_decoder import WholeDecoder
from blockrank_server.models.errors import DeviceLostError, DeviceMemoryError
from blockrank_server.models.reasoning.caller import Caller
from blockrank_server.models.reasoning.chain import Chain
from blockrank_server.models.reasoning.chain_pace import ChainPace

# Chains of so many times the usual length fit beside their prompts.
_ROOM = 1.5


class ChainEngine:
    """Brings chains to their scores by a decoder with a key/value cache: see Continues.

    Args:
        pace: learns from every chain.
        num_vocabulary: the ids that stand for a token; the head may have more rows.
        max_tokens: of prompts and chains that run side by side, about; the others wait.
    """

    def __init__(
        self, decoder: WholeDecoder, pace: ChainPace, num_vocabulary: int, max_tokens: int
    ) -> None:
        self._decoder, self._pace = decoder, pace
        self._num_vocabulary, self._max_tokens = num_vocabulary, max_tokens

    def finish(
        self, chains: Sequence[Chain], between_steps: Callable[[], None] | None = None
    ) -> None:
        """Bring every chain to its score: see Continues.finish.

        Raises:
            DeviceLostError: the device failed.
            DeviceMemoryError: the chains do not fit the device.
        """
        try:
            with torch.inference_mode():
                self._finish(list(chains), between_steps)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            num_tokens = sum(each.num_tokens for each in chains)
            raise DeviceMemoryError(
                f"{len(chains)} chains with {num_tokens} tokens do not fit the device's memory"
            ) from None
        except torch.AcceleratorError as error:
            raise DeviceLostError(f"the device failed: {error}") from error

    def _finish(self, chains: list[Chain], between_steps: Callable[[], None] | None) -> None:
        while chains:
            num = self._num_that_fit(chains)
            running, chains = chains[:num], chains[num:]
            left = list(chains)

            def waiting(caller: Caller, left: Sequence[Chain] = left) -> int:
                return sum(each.num_tokens for each in left if each.caller is caller)

            LiveChains(
                self._decoder, running, waiting, self._pace, self._num_vocabulary, between_steps
            ).run()

    def _num_that_fit(self, chains: Sequence[Chain]) -> int:
        longest = 0
        for num, each in enumerate(chains):
            room = min(_ROOM * self._pace.tokens_per_chain, each.rules.max_tokens)
            longest = max(longest, len(each.prompt_ids) + int(room))
            if num and (num + 1) * longest > self._max_tokens:
                return num
        return len(chains)
