"""Talks to a server of completions over HTTP, on one event loop."""

from collections.abc import AsyncGenerator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import orjson

from blockrank_server.models.errors import EngineError, EngineUnavailableError
from blockrank_server.models.remote.completion import Call, Delta, fault_of, read_event

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONNECT_S = 5.0
# A prompt may wait for long in the server's queue; whoever has a deadline does not wait so long.
_SILENCE_S = 600.0
_PROBE_S = 5.0
_DONE = "[DONE]"
# An event holds one token and 21 log-probabilities, or a few; a longer line is no event.
_MAX_LINE_CHARACTERS = 2**20


class CompletionsClient:
    """Sends requests to one server. To be made, used and closed on one event loop.

    Args:
        url: of the server, with /v1 at its end or without.
        api_key: sent as a bearer token; None sends none.

    Attributes:
        model: the name that the server knows the model by; to be set before the first stream.
    """

    def __init__(self, url: str, api_key: str | None) -> None:
        self.model = ""
        self._root = url.rstrip("/").removesuffix("/v1")
        self._http = httpx2.AsyncClient(
            headers={} if api_key is None else {"Authorization": f"Bearer {api_key}"},
            timeout=httpx2.Timeout(_SILENCE_S, connect=_CONNECT_S, pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def get(self, path: str) -> Any:
        """Return the JSON of a path; None where there is none.

        Raises:
            EngineError: the answer is another status than 200 and 404, or no JSON.
        """
        with _translated():
            answer = await self._http.get(self._root + path, timeout=_PROBE_S)
        return _json(answer)

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """Do as get does, with a body of JSON."""
        with _translated():
            answer = await self._http.post(self._root + path, json=body, timeout=_PROBE_S)
        return _json(answer)

    async def is_healthy(self, path: str) -> bool:
        """Say whether a path answers 200.

        Raises:
            EngineUnavailableError: the server is out of reach.
        """
        with _translated():
            answer = await self._http.get(self._root + path, timeout=_PROBE_S)
        return answer.status_code == 200

    async def stream(self, call: Call) -> AsyncGenerator[Delta]:
        """Give what one call generates, as it comes. Closed or cancelled, it ends the call.

        Raises:
            EngineError: the server refuses the call, or sends what is no completion.
            EngineUnavailableError: it is out of reach or too busy, or breaks off.
        """
        request = self._http.stream(
            "POST",
            f"{self._root}/v1/completions",
            content=orjson.dumps(call.body(self.model)),
            headers={"Content-Type": "application/json"},
        )
        with _translated():
            async with request as answer:
                if answer.status_code != 200:
                    raise fault_of(answer.status_code, answer.headers.get("retry-after"))
                async for line in answer.aiter_lines():
                    if len(line) > _MAX_LINE_CHARACTERS:
                        raise EngineError("the engine has sent a line that is no event")
                    if not line.startswith("data:"):
                        continue
                    data = line.removeprefix("data:").strip()
                    if data == _DONE:
                        return
                    if (delta := read_event(data)) is not None:
                        yield delta


def _json(answer: httpx2.Response) -> Any:
    if answer.status_code == 404:
        return None
    if answer.status_code != 200:
        raise fault_of(answer.status_code, answer.headers.get("retry-after"))
    try:
        return answer.json()
    except ValueError:
        raise EngineError(f"the engine answers {answer.url.path} with what is no JSON") from None


@contextmanager
def _translated() -> "Iterator[None]":
    """Translate what httpx raises; its texts, and those of its causes, may quote what was sent."""
    try:
        yield
    except httpx2.TransportError as error:
        kind = type(error).__name__
        message = f"the engine is out of reach: {kind}"
        raise EngineUnavailableError(message, is_lost=True) from None
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
        raise EngineError(f"the engine cannot be asked: {type(error).__name__}") from None
