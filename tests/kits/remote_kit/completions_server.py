"""A server of completions in vLLM's words, small enough to be made to fail in every way."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from remote_kit.tiny_model import Text, TinyModel

Fault = Literal["die", "hang", "garbage", "no ids", "no finish", "error event"]


@dataclass
class Behaviour:
    """What the server does; tests change it while it runs.

    Attributes:
        watched: what becomes of logprob_token_ids: heeded, refused, or not known.
        hides_end: the id that ends a text is not told.
        status: of every POST to /v1/completions; with this Retry-After.
        fault, fault_after: what befalls a stream after so many tokens.
        key: the bearer token that is wanted.
        step_s: how long a token takes.
    """

    model_names: list[str] = field(default_factory=lambda: ["tiny"])
    max_model_len: int | None = 4096
    watched: Literal["heeded", "refused", "unknown"] = "heeded"
    hides_end: bool = False
    status: int = 200
    retry_after: str | None = None
    fault: Fault | None = None
    fault_after: int = 0
    faults_of_forced: bool = False
    key: str | None = None
    step_s: float = 0.0
    has_tokenize: bool = True
    shift_tokens: int = 0
    is_healthy: bool = True


class CompletionsServer:
    """Attributes:
    bodies: of the streams that were asked for.
    num_open, most_open: the streams that are open, and were at most.
    num_closed_early: those that the client left before their end.
    num_hung: those that have begun to hang.
    """

    def __init__(self, model: TinyModel) -> None:
        self.model, self.does = model, Behaviour()
        self.bodies: list[dict[str, Any]] = []
        self.num_open = self.most_open = self.num_closed_early = self.num_hung = 0

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/completions", self._complete, methods=["POST"]),
                Route("/v1/models", self._models),
                Route("/tokenize", self._tokenize, methods=["POST"]),
                Route("/health", self._health),
            ]
        )

    async def _health(self, _: Request) -> Response:
        return Response(status_code=200 if self.does.is_healthy else 503)

    def _is_denied(self, request: Request) -> bool:
        key = self.does.key
        return key is not None and request.headers.get("authorization") != f"Bearer {key}"

    async def _models(self, request: Request) -> Response:
        if self._is_denied(request):
            return JSONResponse({"error": "Unauthorized"}, 401)
        length = self.does.max_model_len
        models = [{"id": name, "max_model_len": length} for name in self.does.model_names]
        return JSONResponse({"object": "list", "data": models})

    async def _tokenize(self, request: Request) -> Response:
        if not self.does.has_tokenize:
            return JSONResponse({"detail": "Not Found"}, 404)
        asked = await request.json()
        assert asked["add_special_tokens"] is False
        ids = self.model.tokenizer.encode(asked["prompt"], add_special_tokens=False).ids
        ids = [i + self.does.shift_tokens for i in ids]
        return JSONResponse({"count": len(ids), "max_model_len": 4096, "tokens": ids})

    async def _complete(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        does = self.does
        if self._is_denied(request):
            return JSONResponse({"error": "Unauthorized"}, 401)
        if does.status != 200:
            headers = {"Retry-After": does.retry_after} if does.retry_after else {}
            return JSONResponse({"error": {"message": "no"}}, does.status, headers)
        if body["model"] not in does.model_names:
            return JSONResponse({"error": {"message": "The model does not exist."}}, 404)
        ids = body.get("logprob_token_ids")
        if ids and (does.watched == "refused" or body["logprobs"] != len(ids)):
            return JSONResponse({"error": {"message": "logprob_token_ids"}}, 400)
        if not isinstance(body["prompt"], list) or not body["max_tokens"] > 0:
            return JSONResponse({"error": {"message": "prompt"}}, 400)
        return StreamingResponse(self._counted(body), media_type="text/event-stream")

    async def _counted(self, body: dict[str, Any]) -> AsyncIterator[str]:
        self.num_open += 1
        self.most_open = max(self.most_open, self.num_open)
        is_whole = False
        try:
            async for event in self._events(body):
                yield event
            is_whole = True
        finally:
            self.num_open -= 1
            self.num_closed_early += not is_whole

    async def _events(self, body: dict[str, Any]) -> AsyncIterator[str]:
        text, written = Text(list(body["prompt"])), list[int]()
        allowed, finish = body.get("allowed_token_ids"), None
        while finish is None:
            fault = self.does.fault if allowed is None or self.does.faults_of_forced else None
            if fault and len(written) == self.does.fault_after:
                if (event := await self._fail(fault)) is not None:
                    yield event
                return
            await asyncio.sleep(self.does.step_s)
            token, logprobs = await asyncio.to_thread(self.model.step, text, allowed)
            written.append(token)
            finish, is_hidden = self._finish(body, written)
            yield _event([] if is_hidden else [token], self._told(body, token, logprobs), finish)
        yield "data: [DONE]\n\n"

    def _finish(self, body: dict[str, Any], written: list[int]) -> tuple[str | None, bool]:
        assert body["include_stop_str_in_output"] is True
        assert body["skip_special_tokens"] is False
        if written[-1] == self.model.end:
            return "stop", self.does.hides_end
        if any(stop in self.model.decode(written) for stop in body.get("stop", ())):
            return "stop", False
        return ("length" if len(written) == body["max_tokens"] else None), False

    def _told(
        self, body: dict[str, Any], token: int, logprobs: torch.Tensor
    ) -> dict[int, float] | None:
        ids = body.get("logprob_token_ids") if self.does.watched == "heeded" else None
        told = ids or logprobs.topk(body["logprobs"]).indices.tolist()
        return {i: logprobs[i].item() for i in (token, *told)}

    async def _fail(self, fault: Fault) -> str | None:
        if fault == "hang":
            self.num_hung += 1
            await asyncio.sleep(600)
        if fault == "die":
            raise ConnectionResetError
        return {
            "garbage": "data: {not json\n\n",
            "no ids": 'data: {"choices": [{"text": "x", "finish_reason": null}]}\n\n',
            "error event": 'data: {"error": {"message": "x", "code": 503}}\n\n',
        }.get(fault)


def _event(ids: list[int], told: dict[int, float] | None, finish: str | None) -> str:
    top = [{f"token_id:{i}": logprob for i, logprob in (told or {}).items()}] * len(ids)
    choice = {
        "index": 0,
        "text": "",
        "token_ids": ids,
        "logprobs": {"tokens": [f"token_id:{i}" for i in ids], "top_logprobs": top},
        "finish_reason": finish,
        "stop_reason": None,
    }
    return f"data: {json.dumps({'object': 'text_completion', 'choices': [choice]})}\n\n"
