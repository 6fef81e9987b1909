"""Defines what is wrong with what a calibration is to be fitted on."""

from blockrank_server.models.errors import RankerError


class CalibrationError(RankerError):
    """Judgements are too few, all of one kind, or contradict the scores."""
