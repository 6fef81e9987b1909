"""Finds out at the start whether a server of completions does what chains need: see agree."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import aclosing
from typing import Any, NamedTuple

from blockrank_server.models.errors import EngineError, EngineUnavailableError
from blockrank_server.models.prompt.tokenizer import TextTokenizer
from blockrank_server.models.reasoning.chain_rules import ChainRules
from blockrank_server.models.remote.client import CompletionsClient
from blockrank_server.models.remote.completion import Call, Readings

# White space, a number, several scripts, a pair of surrogates, and the verdict's words.
PROBE = "Query: naïve  co-operation, 1234.5\nПассаж: 東京 \N{GLOBE WITH MERIDIANS} true false\n"
_AGAIN_S = 1.0


class Agreement(NamedTuple):
    """Tells what was found out.

    Attributes:
        model: the name that the server knows the model by.
        readings: which log-probabilities it tells.
        health: the path that says whether it is ready.
    """

    model: str
    readings: Readings
    health: str


async def wait_for(client: CompletionsClient, on_wait: Callable[[str], None]) -> None:
    """Wait until a server lists its models.

    Args:
        on_wait: told once why there is a wait, and again when the reason changes.
    """
    told = ""
    while True:
        try:
            await client.get("/v1/models")
        except EngineUnavailableError as error:
            if str(error) != told:
                told = str(error)
                on_wait(told)
            await asyncio.sleep(_AGAIN_S)
        else:
            return


async def agree(
    client: CompletionsClient,
    model: str | None,
    tokenizer: TextTokenizer,
    rules: ChainRules,
    prompt_ids: list[int],
) -> Agreement:
    """Compare model, context, tokens and readings with those of the card. Sets client.model.

    Args:
        model: as the operator names it; None takes the only one.
        prompt_ids: of any pair, to try what is told of the token after it.

    Raises:
        EngineError: one sentence on the first thing that does not fit.
    """
    listed = await client.get("/v1/models")
    found = _model(listed, model)
    client.model = str(found["id"])
    max_context = found.get("max_model_len")
    if isinstance(max_context, int) and max_context < rules.max_context:
        raise EngineError(
            f"the engine's max_model_len is {max_context}, the card's chain.max_context is "
            f"{rules.max_context}: raise the first, or lower the second in a copy of the card"
        )
    await _compare_tokens(client, tokenizer)
    readings = await _readings(client, rules, prompt_ids)
    health = "/health" if await client.is_healthy("/health") else "/v1/models"
    return Agreement(client.model, readings, health)


def _model(listed: Any, name: str | None) -> dict[str, Any]:
    try:
        models = {str(each["id"]): each for each in listed["data"]}
    except (TypeError, KeyError):
        raise EngineError("the engine's /v1/models is no list of models") from None
    if name is None and len(models) != 1:
        raise EngineError(
            f"the engine serves {len(models)} models: set engine_model to one of them"
        )
    if name is not None and name not in models:
        raise EngineError(f"the engine serves no model {name!r}, but {', '.join(sorted(models))}")
    found = models[next(iter(models)) if name is None else name]
    assert isinstance(found, dict)
    return found


async def _compare_tokens(client: CompletionsClient, tokenizer: TextTokenizer) -> None:
    body = {"model": client.model, "prompt": PROBE, "add_special_tokens": False}
    told = await client.post("/tokenize", body)
    if told is None:  # there is no such path
        return
    tokens = told.get("tokens") if isinstance(told, dict) else None
    if tokens != tokenizer.encode(PROBE).ids:
        raise EngineError(
            "the engine splits a text into other tokens than the checkpoint's tokenizer.json: it "
            "serves another model"
        )


async def _readings(
    client: CompletionsClient, rules: ChainRules, prompt_ids: list[int]
) -> Readings:
    """Try whether the log-probabilities of two ids are told, whatever their rank.

    A server that knows nothing of logprob_token_ids refuses it, or tells those of likelier tokens.
    """
    try:
        if {rules.yes, rules.no} <= set(await _told(client, rules, prompt_ids, "exact")):
            return "exact"
    except EngineUnavailableError:
        raise
    except EngineError:
        pass  # why the other call fails, if it does, is the reason to tell
    await _told(client, rules, prompt_ids, "top20")
    return "top20"


async def _told(
    client: CompletionsClient, rules: ChainRules, prompt_ids: list[int], readings: Readings
) -> Iterable[int]:
    """Return the ids whose log-probabilities are told in the place of one token."""
    call = Call(prompt_ids, 1, (rules.yes, rules.no), readings)
    async with aclosing(client.stream(call)) as deltas:
        steps = [step async for delta in deltas for step in delta.steps]
    if len(steps) != 1:
        raise EngineError(f"the engine was asked for 1 token and gave {len(steps)}")
    return steps[0].logprobs
