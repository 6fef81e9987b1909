"""API keys of a real process: start-up, rotation, names in its log."""

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.service.process.conftest import StartServer

BODY = {"query": "b", "texts": ["a", "b"]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.mark.parametrize(
    ("text", "reason"), [("", "holds no key"), ("k\n\nsecret secret", "line 3 is not key or name:")]
)
def test_a_bad_file_ends_the_process_with_2(
    start_server: "StartServer", file: Path, text: str, reason: str
) -> None:
    file.write_text(text)
    server = start_server(BLOCKRANK_API_KEYS_FILE=str(file))
    code, err = server.end()
    assert code == 2
    assert err.startswith(f"error: api_keys_file {file}")
    assert reason in err
    assert err.count("\n") == 1
    assert "secret" not in err + "".join(server.lines)


def test_keys_rotate_while_the_server_runs(start_server: "StartServer", file: Path) -> None:
    file.write_text("alice:secret1\n")
    server = start_server(BLOCKRANK_API_KEYS_FILE=str(file))
    with server.client() as client:
        while client.get("/readyz").status_code != 200:
            pass

        def status(key: str) -> int:
            given = {"Authorization": f"Bearer {key}"}
            return client.post("/rerank", json=BODY, headers=given).status_code

        assert (status("secret1"), status("secret2")) == (200, 401)
        file.write_text("alice:secret1\nalice:secret2\n")
        assert (status("secret1"), status("secret2")) == (200, 200)
        file.write_text("not a key\n")
        assert (status("secret1"), status("secret2")) == (200, 200)
        file.write_text("alice:secret2\n")
        assert (status("secret1"), status("secret2")) == (401, 200)
        server.process.send_signal(signal.SIGTERM)
        assert server.end() == (0, "")
    lines = [json.loads(line) for line in server.lines]
    assert [line["key"] for line in lines if line["event"] == "request"] == [
        *("alice", None),
        *("alice", "alice") * 2,
        *(None, "alice"),
    ]
    [error] = [line for line in lines if line["level"] == "error"]
    assert f"{file}, line 1" in error["error"]
    assert "secret" not in "".join(server.lines)
