"""What can go wrong before and during training.

RankerError
└── TrainingError   during training: the loss is no number any more, or a run cannot be continued
    ├── ConfigError   a setting: names the file, its line and the key
    └── DataError     training data: names the file and its line
"""

from collections.abc import Sequence

from blockrank_server.models.errors import RankerError

_MAX_SHOWN = 10


class TrainingError(RankerError):
    """Training that cannot start or go on."""


class ConfigError(TrainingError, ValueError):
    """A setting that is misspelt, out of range, or contradicts another or the card."""


class DataError(TrainingError, ValueError):
    """Training data that cannot be used.

    Args:
        faults: one sentence each, with file and line; never text of a document.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        shown = "; ".join(faults[:_MAX_SHOWN])
        more = len(faults) - _MAX_SHOWN
        super().__init__(f"{shown}; and {more} more" if more > 0 else shown)
        self.faults = tuple(faults)
