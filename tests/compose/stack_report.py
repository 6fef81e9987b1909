"""What the tests of the stack saw, for loadtests/results/."""


class Report:
    """Lines of Markdown, written when all tests are done."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        """One more paragraph."""
        self.lines += [text, ""]

    def show(self, text: str) -> None:
        """Output as it was."""
        self.lines += ["```", text.rstrip(), "```", ""]
