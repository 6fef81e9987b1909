"""Says when another batch may run, and how large it may be."""

from typing import TYPE_CHECKING, Protocol

from blockrank_server.service.scheduler.duration_model import DurationModel
from blockrank_server.service.scheduler.policy import BatchLimits

if TYPE_CHECKING:
    from blockrank_server.models.remote_ranker import RemoteRanker

# One runs on the device and one waits behind it; more would only be committed too early.
_MAX_RUNNING = 2
_AGAIN_S = 0.02


class Capacity(Protocol):
    """Says when another batch may run, and how large it may be."""

    @property
    def again_s(self) -> float | None:
        """Tell when to ask again; None where only the end of a batch changes what it says."""

    def has_place(self, num_running: int) -> bool:
        """Say whether another batch may run."""

    def room(self) -> float:
        """Return the tokens of a batch; a larger job runs alone."""

    def starts_at_once(self) -> bool:
        """Say whether a job that comes now need not wait for those that run."""


class DeviceCapacity:
    """Is that of a device, which runs one batch at a time."""

    again_s = None

    def __init__(self, limits: BatchLimits, duration_model: DurationModel) -> None:
        self._limits, self._duration_model = limits, duration_model

    def has_place(self, num_running: int) -> bool:
        return num_running < _MAX_RUNNING

    def room(self) -> float:
        return self._limits.room(self._duration_model)

    def starts_at_once(self) -> bool:
        return False


class EngineCapacity:
    """Is that of a server of completions, which writes the chains of many jobs at once.

    Each job runs alone, so that none waits for another's chains. Another one may run as long as no
    chain waits for a stream.
    """

    again_s = _AGAIN_S

    def __init__(self, ranker: "RemoteRanker") -> None:
        self._ranker = ranker

    def has_place(self, num_running: int) -> bool:
        del num_running
        return self._ranker.has_room

    def room(self) -> float:
        return 0.0

    def starts_at_once(self) -> bool:
        return self._ranker.has_room
