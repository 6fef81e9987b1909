"""Tells chains of reasoning until when their callers wait, and whether they still do."""

import time
from concurrent.futures import Future
from typing import Any

from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.models.reasoning.caller import Caller
from blockrank_server.models.reasoning.request import ReasoningRequest

# Of the time to drain; the rest is for answers on their way.
_SHARE = 0.8


class ReasoningCallers:
    """Knows the callers of all requests for reasoning that were accepted and not answered yet."""

    def __init__(self) -> None:
        self._waiting: dict[int, Caller] = {}
        self._latest_s: float | None = None

    def watch(self, request: EncodedRequest, deadline_s: float, future: "Future[Any]") -> None:
        """Tell a request for reasoning when its verdicts are forced; others are left alone.

        Args:
            deadline_s: on the clock time.monotonic.
            future: gets the answer, or is cancelled by a caller who has gone.
        """
        if not isinstance(request, ReasoningRequest):
            return
        caller = request.caller
        caller.deadline_s, caller.is_gone = deadline_s, future.cancelled
        self._waiting[id(caller)] = caller
        future.add_done_callback(lambda _: self._waiting.pop(id(caller), None))
        if self._latest_s is not None:  # it was read while the server drained
            caller.deadline_s = min(deadline_s, self._latest_s)

    def drain(self, timeout_s: float) -> None:
        """Have every verdict forced that is not there in time for its answer.

        Safe in a signal handler: it takes no lock. Only the first call counts.

        Args:
            timeout_s: from now on.
        """
        if self._latest_s is None:
            self._latest_s = time.monotonic() + _SHARE * timeout_s
        for caller in list(self._waiting.values()):
            caller.deadline_s = min(caller.deadline_s, self._latest_s)
