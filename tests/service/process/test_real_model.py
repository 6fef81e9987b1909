"""The whole way, from the console script to the tiny checkpoint and back."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from blockrank_server.models.checkpoint.card import BUILT_IN
from blockrank_server.models.engine.cpu_quota import cpu_quota

if TYPE_CHECKING:
    from tests.service.process.conftest import StartServer

FIXTURE = Path(__file__).parents[2] / "fixtures" / "blockrank"
COMMAND = Path(sys.executable).with_name("blockrank-server")
# Threads that wait for each other on a busy machine's cores make this model 100 times slower.
# The same numbers on every machine.
PLAIN = {"BLOCKRANK_NUM_TORCH_THREADS": "1", "BLOCKRANK_DTYPE": "float32"}
QUERY = "capital of France"
DOCUMENTS = ["Berlin is in Germany.", "Paris is the capital of France.", "A third, longer text."]

# Of the layout the built-in card describes. Blank documents are not scored by the service.
CASES = [
    case
    for case in map(json.loads, (FIXTURE / "cases.jsonl").read_text().splitlines())
    if (case["layout"], case["read_layer"]) == ("released", 4)
    and all(document["text"].strip() for document in case["documents"])
]


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BlockRank's card, with a read layer the tiny checkpoint has."""
    built_in = BUILT_IN / "quicktensor--blockrank-msmarco-mistral-7b.json"
    fields = json.loads(built_in.read_bytes()) | {"read": [{"layer": 4, "heads": "all"}]}
    path = tmp_path_factory.mktemp("card") / "card.json"
    path.write_text(json.dumps(fields))
    return path


@pytest.fixture(scope="module")
def client(start_server: "StartServer", fixtures: Path, card: Path) -> Iterator[httpx.Client]:
    flags = (
        "--model",
        str(fixtures / "blockrank"),
        "--card",
        str(card),
        "--device",
        "cpu",
        "--port",
        "0",
    )
    server = start_server(str(COMMAND), "serve", *flags, **PLAIN)
    with server.client() as client:
        while client.get("/readyz").status_code != 200:
            pass
        yield client
        server.process.send_signal(signal.SIGTERM)
    assert server.end() == (0, "")


def test_threads_cores_and_quota_are_logged_at_start(
    start_server: "StartServer", fixtures: Path, card: Path
) -> None:
    flags = ("--model", str(fixtures / "blockrank"), "--card", str(card), "--device", "cpu")
    server = start_server(str(COMMAND), "serve", *flags, "--port", "0", **PLAIN)
    told = json.loads(server.read_until('"threads"'))
    server.process.send_signal(signal.SIGTERM)
    assert (told["num_torch_threads"], told["num_cores"]) == (1, len(os.sched_getaffinity(0)))
    assert told["cpu_quota"] == cpu_quota()
    assert server.end() == (0, "")


def scores_of(answer: httpx.Response) -> list[float]:
    """Scores in the order of the request's documents, from an answer of either dialect."""
    read = answer.json()
    items = read if isinstance(read, list) else read["results"]
    shown = {item["index"]: item.get("score", item.get("relevance_score")) for item in items}
    return [shown[index] for index in range(len(items))]


def test_the_numbers_of_the_released_code_come_over_the_wire(
    client: httpx.Client, fixtures: Path
) -> None:
    """All at once, so that they meet in batches: mates change nothing."""

    def post(case: dict[str, Any]) -> httpx.Response:
        asked = {"query": case["query"], "max_tokens_per_doc": case["max_document_tokens"]}
        return client.post("/rerank", json=asked | {"documents": case["documents"]})

    assert len(CASES) > 5
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(post, CASES * 2))
    for case, answer in zip(CASES * 2, answers, strict=True):
        expected = case["expected"]["scores"]
        assert scores_of(answer) == pytest.approx(expected, rel=1e-5, abs=2e-6), case["name"]
        ranked = [item["index"] for item in answer.json()["results"]]
        assert ranked == sorted(ranked, key=lambda i: -scores_of(answer)[i])
    info, model = client.get("/info").json(), str(fixtures / "blockrank")
    assert (info["model_id"], info["device"], info["num_layers_kept"]) == (model, "cpu", 5)


def test_the_command_and_the_server_agree(
    client: httpx.Client, fixtures: Path, card: Path, tmp_path: Path
) -> None:
    file = tmp_path / "documents.txt"
    file.write_text("\n\n".join(DOCUMENTS))
    model = str(fixtures / "blockrank")
    flags = ("--model", model, "--card", str(card), "--device", "cpu", "--json")
    done = subprocess.run(
        [COMMAND, "rerank", *flags, "--query", QUERY, str(file)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | PLAIN,
    )
    assert (done.returncode, done.stderr) == (0, "")
    shown = {item["line"]: item["score"] for item in json.loads(done.stdout)["results"]}
    answer = client.post("/rerank", json={"query": QUERY, "texts": DOCUMENTS})
    expected = pytest.approx(scores_of(answer), rel=1e-5, abs=2e-6)
    assert [shown[line] for line in (1, 3, 5)] == expected
