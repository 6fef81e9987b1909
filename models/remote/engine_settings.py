"""Says which server of completions is used, and how."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Says which server of completions is used, and how.

    Attributes:
        url: of the server, with /v1 at its end or without.
        api_key: the bearer token; None sends none.
        model: the name that it knows the model by; None takes the only one that it serves.
        max_streams: how many chains are written at once.
    """

    url: str
    api_key: str | None = field(default=None, repr=False)
    model: str | None = None
    max_streams: int = 128
