"""Defines what can go wrong before and during training.

RankerError
└── TrainingError   during training: the loss is no number any more, or a run cannot be continued
    └── ConfigError   a setting: names the file, its line and the key
"""

from blockrank_server.models.errors import RankerError


class TrainingError(RankerError):
    """Training cannot start or go on."""


class ConfigError(TrainingError, ValueError):
    """A setting is misspelt, out of range, or contradicts another or the card."""
