"""What lies in place of a checkpoint's file: each is named, with what to do about it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from blockrank_server.models.checkpoint.cache import cache_folder
from blockrank_server.models.checkpoint.card import BUILT_IN, CARD_FILE, Card, load_card
from blockrank_server.models.checkpoint.checkpoint import find_checkpoint
from blockrank_server.models.checkpoint.gguf import weights_file
from blockrank_server.models.engine.whole_decoder import load_whole_decoder
from blockrank_server.models.errors import CardError, CheckpointError
from blockrank_server.models.ranker import Ranker

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%d\nsize 7\n" % 10**63
FILES = {
    "model.safetensors": "",
    "model.safetensors.index.json": "",
    "tokenizer.json": "",
    "config.json": "",
    CARD_FILE: "card ",
    "adapter_config.json": "",
    "adapter_model.safetensors": "",
}
STAND_INS = {
    "is a Git LFS pointer, not the file itself: run git lfs pull": POINTER,
    "is an HTML page, such as a login page": b"\n<html><body>Sign in</body></html>",
    "is empty, not a byte is in it": b"",
}


@pytest.fixture
def folder(tmp_path: Path, fixtures: Path, blockrank_card: dict[str, Any]) -> Path:
    """A whole checkpoint with its card and an adapter, of which a test may replace a file."""
    found = Path(shutil.copytree(fixtures / "blockrank", tmp_path / "checkpoint"))
    (found / CARD_FILE).write_text(json.dumps(blockrank_card))
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(BUILT_IN / "default" / name, found)
    return found


@pytest.mark.parametrize("reason", STAND_INS)
@pytest.mark.parametrize("name", FILES)
def test_a_file_in_place_of_another(name: str, reason: str, folder: Path) -> None:
    (folder / name).write_bytes(STAND_INS[reason])
    adapter = folder if name.startswith("adapter") else None
    with pytest.raises((CheckpointError, CardError)) as caught:
        Ranker.open(folder, adapter=adapter, device="cpu")
    assert str(caught.value).startswith(f"{FILES[name]}{folder / name} {reason}")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def cut_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def pickle(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 what torch.save writes")


def rename(path: Path) -> None:
    path.rename(path.with_name("pytorch_model.bin"))


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", ["model.safetensors", "adapter_model.safetensors"])
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (cut, r"is not a whole safetensors file: it is cut off after \d+ bytes of \d+"),
        (cut_header, "is not a whole safetensors file: it is cut off after 100 bytes of"),
        (pickle, "is not a whole safetensors file: it is a pickle, which is never opened"),
        (rename, r"is missing, and pytorch_model\.bin is a pickle, which is never opened"),
        (Path.unlink, "is missing"),
        (make_folder, "is a folder, not a safetensors file"),
    ],
)
def test_tensors_that_cannot_be_opened(
    name: str, spoil: Callable[[Path], None], reason: str, folder: Path
) -> None:
    spoil(folder / name)
    adapter = folder if name.startswith("adapter") else None
    with pytest.raises(CheckpointError, match=reason):
        Ranker.open(folder, adapter=adapter, device="cpu")


@pytest.mark.parametrize("content", [POINTER, b"", b"PK\x03\x04", b"\x09"])
def test_the_whole_decoder_names_its_file_too(content: bytes, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(content)
    found = find_checkpoint(str(folder))
    with pytest.raises(CheckpointError) as caught:
        load_whole_decoder(found, torch.device("cpu"), torch.float32)
    assert str(caught.value).startswith(f"{folder / 'model.safetensors'} is ")


def test_a_pointer_in_place_of_embedded_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = load_card(BUILT_IN / "default.json").weights
    assert weights is not None
    package = tmp_path / "weights_of_a_test"
    (package / weights.file).parent.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / weights.file).write_bytes(POINTER)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CheckpointError, match="is a Git LFS pointer"):
        weights_file(weights.model_copy(update={"package": package.name}))


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, '{"weight_map": 3}', '{"weight_map": {"a": 1}}', '{"weight_map": {"a": []}}'],
)
def test_an_index_that_is_none(content: str, folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"index\.json (is not an index|points outside)"):
        Ranker.open(folder, device="cpu")


def test_a_byte_order_mark_in_every_text_file(folder: Path) -> None:
    expected = Ranker.open(folder, device="cpu").rank("q", ["a b", "c"])
    for name in ("config.json", "tokenizer.json", CARD_FILE):
        (folder / name).write_bytes(b"\xef\xbb\xbf" + (folder / name).read_bytes())
    assert Ranker.open(folder, device="cpu").rank("q", ["a b", "c"]) == expected


def test_a_card_is_the_same_with_a_byte_order_mark(folder: Path) -> None:
    card: Card = load_card(folder / CARD_FILE)
    (folder / CARD_FILE).write_bytes(b"\xef\xbb\xbf" + (folder / CARD_FILE).read_bytes())
    assert load_card(folder / CARD_FILE) == card


def test_a_cache_that_is_given_needs_no_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home(_: str) -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr("platformdirs.user_cache_path", no_home)
    assert cache_folder(tmp_path) == tmp_path
    with pytest.raises(CheckpointError, match="set HOME or XDG_CACHE_HOME to a folder"):
        cache_folder(None)
