"""A checkpoint of reasoning by its hub name: all of its shards, and its built-in card."""

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from blockrank_server.models.checkpoint import hub
from blockrank_server.models.checkpoint.checkpoint import find_reasoning_checkpoint, is_reasoning


@pytest.fixture
def fetched(fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of files fetched from repositories that all hold rank1's tiny checkpoint in shards."""
    folder = tmp_path / ("a" * 40)
    folder.mkdir()
    tensors = load_file(fixtures / "rank1" / "model.safetensors")
    files = {name: f"model-{'layers.3' in name:d}.safetensors" for name in tensors}
    files["lm_head.weight"] = "model-2.safetensors"
    for file in set(files.values()):
        save_file({name: tensors[name] for name in files if files[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_bytes((fixtures / "rank1" / name).read_bytes())
    names: list[str] = []

    def download(name: str, file: str, **_: Any) -> str:
        if not (folder / file).exists():
            raise LocalEntryNotFoundError(file)
        names.append(file)
        return str(folder / file)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    return names


def test_every_shard_is_fetched(fetched: list[str], tmp_path: Path) -> None:
    found = find_reasoning_checkpoint("jhu-clsp/rank1-7b", cache_dir=tmp_path)
    assert {f"model-{i}.safetensors" for i in range(3)} <= set(fetched)
    assert (found.card.name, found.served_revision()) == ("jhu-clsp/rank1-7b", "a" * 40)


def test_the_kind_is_known_without_the_weights(fetched: list[str], tmp_path: Path) -> None:
    assert is_reasoning("jhu-clsp/rank1-32b-awq", cache_dir=tmp_path)
    assert not is_reasoning("MindscapeRAG/QRRanker", cache_dir=tmp_path)
    assert not is_reasoning("jhu-clsp/rank1-7b", card="default", cache_dir=tmp_path)
    assert set(fetched) == {"config.json"}
