"""Names where the model is in its life, and why requests are refused there."""

from enum import StrEnum

from blockrank_server.service.errors import (
    DrainingError,
    LoadingError,
    ModelUnavailableError,
    ServiceError,
)
from blockrank_server.service.scheduler.engine_faults import unreachable


class Phase(StrEnum):
    """Tells where the model is in its life."""

    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    UNREACHABLE = "unreachable"
    DRAINING = "draining"
    FAILED = "failed"
    DEAD = "dead"


def refusal_in(phase: Phase, fault: str | None) -> ServiceError | None:
    """Tell why requests are refused in a phase, if they are.

    Args:
        fault: why the server that writes chains is unreachable, if it is.
    """
    match phase:
        case Phase.READY:
            return None
        case Phase.UNREACHABLE:
            return unreachable(fault or "the engine is out of reach")
        case Phase.DRAINING:
            return DrainingError()
        case Phase.FAILED:
            return ModelUnavailableError("Model could not be loaded")
        case Phase.DEAD:
            return ModelUnavailableError("The model's thread has died")
        case _:
            return LoadingError(f"Model is {phase}", retry_after_s=1)
