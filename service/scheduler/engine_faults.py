"""Tells callers of what is wrong with the server that writes chains of reasoning."""

from blockrank_server.models.errors import EngineUnavailableError
from blockrank_server.service.errors import LoadingError, OverloadedError, ServiceError

# Where it does not say itself when another try makes sense.
_RETRY_AFTER_S = 2.0


class EngineUnreachableError(LoadingError):
    """The server that writes chains of reasoning is out of reach or not ready."""

    reason = "engine"

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s or _RETRY_AFTER_S)


def unavailable(error: EngineUnavailableError) -> ServiceError:
    """Pass on a 429 as a 429, and everything else as a 503; Retry-After as it came."""
    if error.is_busy:
        return OverloadedError(error.retry_after_s or _RETRY_AFTER_S)
    return EngineUnreachableError(_sentence(str(error)), error.retry_after_s)


def unreachable(fault: str) -> EngineUnreachableError:
    """Refuse requests while the server is known to be out of reach."""
    return EngineUnreachableError(_sentence(fault))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
