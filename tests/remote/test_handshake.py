"""What is compared with a server of completions before the first request."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from blockrank_server.models.errors import CardError, EngineError, EngineUnavailableError
from blockrank_server.models.remote.engine_settings import EngineSettings
from blockrank_server.models.remote_ranker import RemoteRanker
from remote_kit.completions_server import CompletionsServer
from remote_kit.live import running

if TYPE_CHECKING:
    from tests.remote.conftest import Connect, MakeCard

WRONG: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "another model": (
        {},
        {"model": "big"},
        "the engine serves no model 'big', but tiny",
    ),
    "two models": (
        {"model_names": ["tiny", "other"]},
        {},
        "serves 2 models: set engine_model to one of them",
    ),
    "a short context": (
        {"max_model_len": 512},
        {},
        r"max_model_len is 512, the card's chain\.max_context is 1024",
    ),
    "another tokenizer": ({"shift_tokens": 1}, {}, "splits a text into other tokens"),
    "no key": ({"key": "secret"}, {}, "answers 401: it wants another engine_api_key"),
    "another key": (
        {"key": "secret"},
        {"api_key": "wrong"},
        "answers 401: it wants another engine_api_key",
    ),
    "no ids": ({"fault": "no ids"}, {}, "does not tell the id and the log-probabilities"),
    "garbage": ({"fault": "garbage"}, {}, "an event that is no completion"),
    "refusals": ({"status": 400}, {}, "the engine answers 400"),
}


@pytest.mark.parametrize(("does", "options", "message"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_told_in_one_sentence(
    does: dict[str, Any],
    options: dict[str, Any],
    message: str,
    server: CompletionsServer,
    connect: "Connect",
) -> None:
    for name, value in does.items():
        setattr(server.does, name, value)
    with pytest.raises(EngineError, match=message) as caught:
        connect(**options)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "does",
    [
        {"key": "secret"},
        {"model_names": ["other", "tiny"]},
        {"has_tokenize": False},
        {"max_model_len": None},
    ],
    ids=str,
)
def test_what_fits_is_taken(
    does: dict[str, Any], server: CompletionsServer, connect: "Connect"
) -> None:
    for name, value in does.items():
        setattr(server.does, name, value)
    ranker = connect(api_key="secret", model="tiny")
    assert ranker.info.engine == "remote"
    assert ranker.info.readings == "exact"
    assert ranker.rank("ice", ["One."])


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_an_address_may_end_in_v1(suffix: str, url: str, connect: "Connect") -> None:
    assert connect(url=url + suffix).info.readings == "exact"


@pytest.mark.parametrize("watched", ["refused", "unknown"])
def test_a_server_without_logprob_token_ids_is_read_by_its_top_20(
    watched: Any, server: CompletionsServer, connect: "Connect"
) -> None:
    server.does.watched = watched
    assert connect().info.readings == "top20"
    assert server.bodies[-1]["logprobs"] == 20
    assert "logprob_token_ids" not in server.bodies[-1]


def test_an_address_where_nobody_is(connect: "Connect") -> None:
    with pytest.raises(EngineUnavailableError, match="out of reach: ConnectError"):
        connect(url="http://127.0.0.1:9")


def test_a_server_that_is_not_there_yet_is_waited_for(
    server: CompletionsServer, fixtures: Path, make_card: "MakeCard", one_thread: None
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    reasons: list[str] = []

    def come(reason: str) -> None:
        reasons.append(reason)
        stack.__enter__()

    stack = running(server.app(), port)
    ranker = RemoteRanker.connect(
        fixtures / "rank1",
        EngineSettings(f"http://127.0.0.1:{port}"),
        card=make_card(),
        on_wait=come,
    )
    ranker.close()
    stack.__exit__(None, None, None)
    assert reasons == ["the engine is out of reach: ConnectError"]


def test_a_card_of_another_kind_is_refused(fixtures: Path) -> None:
    with pytest.raises(CardError, match="is of kind attention: engine_url needs one of reasoning"):
        RemoteRanker.connect(
            fixtures / "rank1", EngineSettings("http://x"), card="MindscapeRAG/QRRanker"
        )


def test_settings_that_do_not_apply_are_refused(fixtures: Path) -> None:
    with pytest.raises(CardError, match="quantization does not apply"):
        RemoteRanker.connect(fixtures / "rank1", EngineSettings("http://x"), quantization="int8")


def test_neither_weights_nor_torch_are_needed(
    url: str, fixtures: Path, make_card: "MakeCard", tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (bare / name).write_bytes((fixtures / "rank1" / name).read_bytes())
    program = f"""
import json, sys
from blockrank_server.service.open_ranker import open_ranker
from blockrank_server.service.settings import Settings
ranker = open_ranker(Settings(model={str(bare)!r}, card={str(make_card())!r}, engine_url={url!r}))
scores = ranker.rank("ice", ["One."])
print(json.dumps([scores, "torch" in sys.modules]))
ranker.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    scores, has_torch = json.loads(done.stdout)
    assert 0 < scores[0] < 1
    assert not has_torch
