"""Defines what can go wrong between a caller's text and its scores.

RankerError
├── InputError        the request: names the field, the limit and the value
│   ├── EmptyInputError   nothing to rank
│   └── InputTooLongError   over a limit, and truncation was not allowed
├── CardError         a card that does not describe a reranker this engine can run
├── CheckpointError   a folder, file or tensor that is missing, extra or broken; a device that
│                     cannot run it
├── EngineError       a server of completions that does not do what is asked of it
│   └── EngineUnavailableError   it is out of reach or too busy; later it may not be
├── AbandonedError    nobody waits for the scores any more
├── DeviceLostError   the device does not answer any more
└── DeviceMemoryError   a batch that does not fit the device's memory
"""


class RankerError(Exception):
    """Is the root of what this layer raises on purpose. The text is fit to be shown to a caller."""


class InputError(RankerError, ValueError):
    """A request cannot be scored.

    Args:
        message: one sentence that names field, limit and value.
        field: the request field at fault, as the Python API spells it ("query", "documents[3]").
        limit: what is allowed, or None where there is no number.
        value: what was given, or None. Never the caller's text.
    """

    def __init__(
        self, message: str, *, field: str, limit: int | None = None, value: int | None = None
    ) -> None:
        super().__init__(message)
        self.field = field
        self.limit = limit
        self.value = value


class EmptyInputError(InputError):
    """A query is empty or has no token, or a list of documents is empty."""


class InputTooLongError(InputError):
    """There are more documents or tokens than the card allows, where nothing may be cut."""


class CardError(RankerError, ValueError):
    """A card has an unknown field, a value out of range, or fields that contradict each other."""


class CheckpointError(RankerError):
    """Weights or tokenizer cannot be loaded: the text names the file and what is wrong."""


class EngineError(RankerError):
    """A server of completions lacks the model, splits texts otherwise, or sends what is no answer.

    The text holds nothing of a prompt or a chain.
    """


class EngineUnavailableError(EngineError):
    """A server of completions is out of reach, not ready, or too busy.

    Args:
        retry_after_s: after so long another try makes sense, as the server says.

    Attributes:
        is_busy: whether it has answered 429.
        is_lost: whether there was no answer, or only a part of one.
    """

    def __init__(
        self,
        message: str,
        *,
        is_busy: bool = False,
        is_lost: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.is_busy, self.is_lost, self.retry_after_s = is_busy, is_lost, retry_after_s


class AbandonedError(RankerError):
    """All callers have gone before their scores were there."""


class DeviceLostError(RankerError):
    """The device failed in a way that no later batch survives; only a new process helps."""


class DeviceMemoryError(RankerError):
    """A batch does not fit the device's memory: not in halves either, or it is one request."""
