"""Loading: only what scores need, and nothing missing, broken or left over."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from blockrank_server.models.checkpoint.weights import is_needed
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.ranker import Ranker

Tensors = dict[str, torch.Tensor]


@pytest.fixture
def folder(tmp_path: Path, fixtures: Path) -> Path:
    """A copy of the tiny Mistral that a test may break."""
    return Path(shutil.copytree(fixtures / "blockrank", tmp_path / "checkpoint"))


@pytest.fixture
def change(folder: Path) -> Callable[[Callable[[Tensors], None]], None]:
    """Rewrite the copy's tensors."""

    def change_(edit: Callable[[Tensors], None]) -> None:
        tensors = load_file(folder / "model.safetensors")
        edit(tensors)
        save_file(tensors, folder / "model.safetensors")

    return change_


def test_only_what_the_scores_need_is_loaded(
    folder: Path, blockrank_card: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    ranker = open_tiny(folder, blockrank_card)
    names = {name for name, _ in ranker._engine._network.named_parameters()}
    last = {name for name in names if name.startswith("layers.4.")}
    assert last == {
        f"layers.4.{part}.weight"
        for part in ("input_layernorm", "self_attn.q_proj", "self_attn.k_proj")
    }
    assert not [name for name in names if name.startswith(("layers.5.", "norm.", "lm_head."))]
    assert len(names) == 1 + 4 * 6 + 3


def test_layers_above_the_last_read_one_may_be_absent(
    folder: Path, blockrank_card: dict[str, Any], open_tiny: Callable[..., Ranker], change: Any
) -> None:
    whole = open_tiny(folder, blockrank_card).rank("q", ["a b", "c"])

    def cut(tensors: Tensors) -> None:
        for name in [name for name in tensors if not is_needed(name, 4)]:
            del tensors[name]

    change(cut)
    assert open_tiny(folder, blockrank_card).rank("q", ["a b", "c"]) == whole


def drop(tensors: Tensors) -> None:
    del tensors["model.layers.2.mlp.up_proj.weight"]


def add(tensors: Tensors) -> None:
    tensors["model.layers.2.self_attn.q_proj.bias"] = torch.zeros(64)


def reshape(tensors: Tensors) -> None:
    tensors["model.embed_tokens.weight"] = torch.zeros(10, 32)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            drop,
            r"lacks 1 of the 40 tensors that layers 0 to 4 need; "
            r"the first is 'model\.layers\.2\.mlp\.up_proj\.weight'",
        ),
        (add, r"unexpected tensor 'model\.layers\.2\.self_attn\.q_proj\.bias'"),
        (reshape, r"embed_tokens\.weight is \[10, 32\], the config says \[32768, 32\]"),
    ],
    ids=["missing", "unexpected", "shape"],
)
def test_wrong_tensors_are_an_error(
    edit: Callable[[Tensors], None],
    message: str,
    folder: Path,
    blockrank_card: dict[str, Any],
    open_tiny: Callable[..., Ranker],
    change: Any,
) -> None:
    change(edit)
    with pytest.raises(CheckpointError, match=message):
        open_tiny(folder, blockrank_card)


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100_000])


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (truncate, r"model\.safetensors is not a whole safetensors file"),
    "not safetensors": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"PK\x03\x04 a pickle"),
        r"model\.safetensors is not a whole safetensors file",
    ),
    "no weights": (
        lambda folder: (folder / "model.safetensors").unlink(),
        r"model\.safetensors is missing",
    ),
    "only a pickle": (
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
        r"model\.safetensors is missing",
    ),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), r"no tokenizer\.json"),
    "broken tokenizer": (
        lambda folder: (folder / "tokenizer.json").write_text("{}"),
        r"tokenizer\.json is not a tokenizer",
    ),
    "no config": (lambda folder: (folder / "config.json").unlink(), r"folder without config\.json"),
    "broken config": (
        lambda folder: (folder / "config.json").write_text("{"),
        r"config\.json is not a model's config",
    ),
    "other family": (
        lambda folder: (folder / "config.json").write_text('{"model_type": "bert"}'),
        "model_type 'bert' is not supported, only llama, mistral, qwen2, qwen3",
    ),
    "index out of the folder": (
        lambda folder: (folder / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"model.embed_tokens.weight": "../x.safetensors"}})
        ),
        "points outside its folder",
    ),
    "index of pickles": (
        lambda folder: (folder / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"model.embed_tokens.weight": "pytorch_model.bin"}})
        ),
        "points outside its folder or to no safetensors",
    ),
}


@pytest.mark.parametrize(("breaks", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_folders_name_the_file(
    breaks: Callable[[Path], Any],
    message: str,
    folder: Path,
    blockrank_card: dict[str, Any],
    open_tiny: Callable[..., Ranker],
) -> None:
    breaks(folder)
    with pytest.raises(CheckpointError, match=message):
        open_tiny(folder, blockrank_card)


def test_sharded_checkpoints_need_only_the_shards_of_kept_layers(
    folder: Path, blockrank_card: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    whole = open_tiny(folder, blockrank_card).rank("q", ["a b", "c"])
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    kept = {name for name in tensors if is_needed(name, 4)}
    save_file({name: tensors[name] for name in kept}, folder / "model-00001-of-00002.safetensors")
    files = {name: f"model-0000{1 if name in kept else 2}-of-00002.safetensors" for name in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    assert open_tiny(folder, blockrank_card).rank("q", ["a b", "c"]) == whole


@pytest.mark.parametrize(
    ("change_config", "message"),
    [
        ({"num_hidden_layers": 4}, "the card reads layer 4, the checkpoint has 4"),
        ({"sliding_window": 128}, "sliding_window 128 is not supported"),
    ],
    ids=["too few layers", "window"],
)
def test_configs_the_engine_cannot_run(
    change_config: dict[str, Any],
    message: str,
    folder: Path,
    blockrank_card: dict[str, Any],
    open_tiny: Callable[..., Ranker],
) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change_config))
    with pytest.raises(CheckpointError, match=message):
        open_tiny(folder, blockrank_card)


def test_code_in_the_folder_is_never_run(
    folder: Path, blockrank_card: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    open_tiny(folder, blockrank_card).rank("q", ["a"])
    assert not (folder / "ran").exists()
