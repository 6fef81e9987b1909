"""Says what an engine does for chains: it continues them, and knows nothing of what they mean."""

from collections.abc import Callable, Sequence
from typing import Protocol

from blockrank_server.models.reasoning.chain import Chain


class Continues(Protocol):
    """Continues chains by a language model, greedily."""

    def finish(
        self, chains: Sequence[Chain], between_steps: Callable[[], None] | None = None
    ) -> None:
        """Bring every chain to its score.

        Each token is fed to its chain with the log-probabilities of the two words; of a chain that
        ended without a verdict, they are read after its forced_ids. Chains are cut shortly before
        their caller's deadline, and given up when it has gone.

        Args:
            chains: are live.
            between_steps: called on this thread now and then; what it raises ends the work there.
        """
