"""Defines what can go wrong in an evaluation.

RankerError
└── EvaluationError   lists, judgements, runs or a folder of results that cannot be used
"""

from blockrank_server.models.errors import RankerError


class EvaluationError(RankerError, ValueError):
    """An evaluation cannot start or go on; the text names the file, its line or the option."""
