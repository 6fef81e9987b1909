"""From a name to files: local folders, a hub (a small one on loopback), and what goes wrong."""

import json
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from blockrank_server.models.checkpoint.card import CARD_FILE
from blockrank_server.models.checkpoint.checkpoint import find_checkpoint
from blockrank_server.models.checkpoint.weights import is_needed
from blockrank_server.models.errors import CardError, CheckpointError
from blockrank_server.models.ranker import Ranker

COMMITS = {"main": "a" * 40, "v1": "b" * 40, "a" * 40: "a" * 40, "b" * 40: "b" * 40}


class Hub(ThreadingHTTPServer):
    """Serves folders the way huggingface_hub asks for them, and keeps a list of what was asked."""

    def __init__(self, folders: dict[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folders = folders
        self.downloaded: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        name, _, rest = self.path.removeprefix("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        folder = self.server.folders.get(name)
        if folder is None or revision not in COMMITS or not (folder / file).is_file():
            code = "RepoNotFound" if folder is None else "EntryNotFound"
            self.send_response(HTTPStatus.NOT_FOUND)
            self.send_header(
                "X-Error-Code", "RevisionNotFound" if revision not in COMMITS else code
            )
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = (folder / file).read_bytes()
        self.send_response(HTTPStatus.OK)
        self.send_header("ETag", f'"{name}-{file}-{len(content)}"'.replace("/", "-"))
        self.send_header("X-Repo-Commit", COMMITS[revision])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body:
            self.server.downloaded.append(file)
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output quiet."""


@pytest.fixture
def hub_folder(tmp_path: Path, fixtures: Path, blockrank_card: dict[str, Any]) -> Path:
    """The tiny Mistral in two shards, the second of layers no score needs, with its card."""
    folder = tmp_path / "repository"
    folder.mkdir()
    tensors = load_file(fixtures / "blockrank/model.safetensors")
    files: dict[str, str] = {}
    for i, kept in enumerate([True, False]):
        part = {name: t for name, t in tensors.items() if is_needed(name, 4) is kept}
        save_file(part, folder / f"model-{i}.safetensors")
        files |= dict.fromkeys(part, f"model-{i}.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_bytes((fixtures / "blockrank" / name).read_bytes())
    (folder / CARD_FILE).write_text(json.dumps(blockrank_card | {"name": "org/tiny"}))
    (folder / "pytorch_model.bin").write_bytes(b"never fetched")
    return folder


@pytest.fixture
def hub(hub_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub({"org/tiny": hub_folder})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    template = (
        f"http://127.0.0.1:{server.server_port}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    yield server
    server.shutdown()
    server.server_close()


def test_the_adapter_of_a_given_card_is_beside_that_card(hub: Hub, tmp_path: Path) -> None:
    card = json.loads((hub.folders["org/tiny"] / CARD_FILE).read_text()) | {"adapter": "mine"}
    given = tmp_path / CARD_FILE
    given.write_text(json.dumps(card))
    found = find_checkpoint("org/tiny", card=given, cache_dir=tmp_path / "cache")
    assert found.adapter == tmp_path / "mine"
    (hub.folders["org/tiny"] / CARD_FILE).write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="adapter of a card on the hub is not fetched"):
        find_checkpoint("org/tiny", cache_dir=tmp_path / "other-cache")


def test_a_hub_name_opens_and_fetches_no_more_than_needed(
    hub: Hub, tmp_path: Path, fixtures: Path, hub_folder: Path
) -> None:
    ranker = Ranker.open("org/tiny", cache_dir=tmp_path / "cache", device="cpu")
    assert (ranker.info.name, ranker.info.revision) == ("org/tiny", "a" * 40)
    assert set(hub.downloaded) == {
        "config.json",
        "tokenizer.json",
        CARD_FILE,
        "model.safetensors.index.json",
        "model-0.safetensors",
    }
    local = Ranker.open(fixtures / "blockrank", card=hub_folder / CARD_FILE, device="cpu")
    assert ranker.rank("q", ["a b", "c"]) == local.rank("q", ["a b", "c"])


def test_a_repository_that_automodel_saved_is_fetched_likewise_and_without_its_code(
    hub: Hub, tmp_path: Path, hub_folder: Path
) -> None:
    expected = Ranker.open(hub_folder, device="cpu").rank("q", ["a b", "c"])
    index = hub_folder / "model.safetensors.index.json"
    index.write_text(index.read_text().replace('"model.', '"'))
    for path in hub_folder.glob("*.safetensors"):
        save_file({n.removeprefix("model."): t for n, t in load_file(path).items()}, path)
    config = json.loads((hub_folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Model"}
    (hub_folder / "config.json").write_text(json.dumps(config))
    (hub_folder / "evil.py").write_text("raise SystemExit")
    found = Ranker.open("org/tiny", cache_dir=tmp_path / "cache", device="cpu")
    assert found.rank("q", ["a b", "c"]) == expected
    assert not {"evil.py", "model-1.safetensors"} & set(hub.downloaded)


def test_offline_uses_the_cache_and_nothing_else(hub: Hub, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(CheckpointError, match=r"config\.json of org/tiny is not in the cache"):
        Ranker.open("org/tiny", cache_dir=cache, offline=True)
    online = Ranker.open("org/tiny", cache_dir=cache).rank("q", ["a b", "c"])
    hub.downloaded.clear()
    hub.folders.clear()
    ranker = Ranker.open("org/tiny", cache_dir=cache, offline=True)
    assert ranker.rank("q", ["a b", "c"]) == online
    assert not hub.downloaded


def test_a_revision_can_be_pinned(hub: Hub, tmp_path: Path) -> None:
    ranker = Ranker.open("org/tiny", cache_dir=tmp_path / "cache", revision="v1")
    assert ranker.info.revision == "b" * 40
    with pytest.raises(CheckpointError, match=r"cannot fetch config\.json of org/tiny"):
        Ranker.open("org/tiny", cache_dir=tmp_path / "cache", revision="absent")


def test_names_the_hub_does_not_know(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot fetch config\.json of org/absent"):
        Ranker.open("org/absent", cache_dir=tmp_path / "cache")


def test_a_hub_repository_without_a_card(hub: Hub, hub_folder: Path, tmp_path: Path) -> None:
    (hub_folder / CARD_FILE).unlink()
    with pytest.raises(CheckpointError, match=r"has no rerank_card\.json and no built-in card"):
        Ranker.open("org/tiny", cache_dir=tmp_path / "cache")


def test_a_hub_repository_with_a_built_in_card(hub: Hub, hub_folder: Path, tmp_path: Path) -> None:
    (hub_folder / CARD_FILE).unlink()
    hub.folders["quicktensor/blockrank-msmarco-mistral-7b"] = hub_folder
    with pytest.raises(CheckpointError, match="the card reads layer 20, the checkpoint has 6"):
        Ranker.open("quicktensor/blockrank-msmarco-mistral-7b", cache_dir=tmp_path / "cache")


def test_a_folder_needs_a_card(fixtures: Path) -> None:
    with pytest.raises(CheckpointError, match=r"rerank_card\.json is missing: put a card"):
        Ranker.open(fixtures / "blockrank")


def test_a_card_beside_the_weights_is_found(hub_folder: Path) -> None:
    assert Ranker.open(hub_folder).card.name == "org/tiny"


def test_a_built_in_card_is_found_by_name(
    hub_folder: Path, fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("default", "MindscapeRAG/QRRanker"):
        assert find_checkpoint(str(hub_folder), card=name).card.name == name
    with pytest.raises(CheckpointError, match="the card reads layer 20, the checkpoint has 6"):
        Ranker.open(fixtures / "blockrank", card="quicktensor/blockrank-msmarco-mistral-7b")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default").write_bytes((hub_folder / CARD_FILE).read_bytes())
    assert find_checkpoint(str(hub_folder), card="default").card.name == "org/tiny"


def test_no_card_of_that_name(hub_folder: Path) -> None:
    with pytest.raises(
        CardError, match=r"'absent' is neither a file nor one of Minds.*, default, "
    ):
        Ranker.open(hub_folder, card="absent")
    with pytest.raises(CardError, match=f"cannot read card {hub_folder}: Is a directory"):
        Ranker.open(hub_folder, card=hub_folder)


def test_an_empty_card_is_none(hub_folder: Path) -> None:
    assert Ranker.open(hub_folder, card="").card.name == "org/tiny"


def test_a_folder_is_not_a_file(hub_folder: Path) -> None:
    with pytest.raises(CheckpointError, match="is a file; name the folder it is in"):
        Ranker.open(hub_folder / "config.json")


def test_a_broken_card_beside_the_weights(hub_folder: Path) -> None:
    (hub_folder / CARD_FILE).write_text('{"card_version": 1, "maks": "block"}')
    with pytest.raises(CardError, match="maks: Extra inputs are not permitted"):
        Ranker.open(hub_folder)


@pytest.mark.parametrize("name", ["/no/such/folder", "nothing", "", "a/b/c", "../..//x", "./x"])
def test_unknown_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError):
        Ranker.open(name)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"device": "tpu:x"}, "device 'tpu:x'"),
        ({"device": "meta"}, "device 'meta' is not supported"),
        ({"dtype": "float64"}, "dtype 'float64' is not one of auto, float32, bfloat16"),
        ({"revision": "main"}, "revision 'main' applies to hub names"),
    ],
    ids=["device", "unsupported device", "dtype", "revision"],
)
def test_options_that_cannot_be(option: dict[str, str], message: str, hub_folder: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        Ranker.open(hub_folder, **option)  # type: ignore[arg-type]
