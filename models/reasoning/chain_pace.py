"""Learns how long chains are, and what their tokens take, to tell what a request will cost."""

# Weight of what is new: ten batches make most of a figure.
_RATE = 0.2
# Until it is learnt: chains of rank1 have 100 to 500 words (arXiv:2502.18418).
_TOKENS_PER_CHAIN = 350.0
# What stands between a verdict and its caller, besides the model: the queue's and HTTP's work.
_MARGIN_S = 0.2
_SAFETY = 1.5


class ChainPace:
    """Holds three running figures. Read on any thread, written by the one that owns the model.

    Attributes:
        tokens_per_chain: how long chains are that ended by themselves.
        prompt_token_s: what a token takes that is read with many others.
        chain_token_s: what a token takes that is generated, at the widths of late.
        step_s: what a step of generation takes.
    """

    def __init__(self) -> None:
        self.tokens_per_chain = _TOKENS_PER_CHAIN
        self.prompt_token_s = self.chain_token_s = self.step_s = 0.0

    def ended(self, num_tokens: int) -> None:
        """Learn from a chain that nobody cut."""
        self.tokens_per_chain += _RATE * (num_tokens - self.tokens_per_chain)

    def read(self, num_tokens: int, seconds: float) -> None:
        """Learn from a pass over prompts."""
        self.prompt_token_s = _mixed(self.prompt_token_s, seconds / num_tokens)

    def generated(self, num_tokens: int, seconds: float) -> None:
        """Learn from a step, which generated a token of each live chain."""
        self.chain_token_s = _mixed(self.chain_token_s, seconds / num_tokens)
        self.step_s = _mixed(self.step_s, seconds)

    def cost_of_chain(self, max_tokens: int) -> float:
        """Predict what a chain costs, in tokens of a prompt.

        Args:
            max_tokens: bounds its length.
        """
        num_tokens = min(self.tokens_per_chain, max_tokens)
        known = self.prompt_token_s and self.chain_token_s
        return num_tokens * (self.chain_token_s / self.prompt_token_s if known else 1.0)

    def forcing_s(self, num_tokens: int) -> float:
        """Tell how long before a deadline verdicts must be forced.

        Args:
            num_tokens: those that have to be read for it.
        """
        return _SAFETY * (num_tokens * self.prompt_token_s + 2 * self.step_s) + _MARGIN_S


def _mixed(before: float, new: float) -> float:
    return before + _RATE * (new - before) if before else new
