"""What can be wrong with a checkpoint in QRRanker's published form, and how it is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.checkpoint.checkpoint import Checkpoint
from blockrank_server.models.checkpoint.weights import INDEX_FILE
from blockrank_server.models.engine.whole_decoder import load_whole_decoder
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.ranker import Ranker

Tensors = dict[str, torch.Tensor]


def set_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rewrite(folder: Path, edit: Callable[[Tensors], Any]) -> None:
    """Edit the tensors of the shard with layer 2's MLP."""
    for path in folder.glob("*.safetensors"):
        tensors = load_file(path)
        if "layers.2.mlp.up_proj.weight" in tensors:
            edit(tensors)
            save_file(tensors, path)


def unlist(folder: Path, layer: int) -> None:
    index = json.loads((folder / INDEX_FILE).read_text())
    kept = {n: f for n, f in index["weight_map"].items() if not n.startswith(f"layers.{layer}.")}
    (folder / INDEX_FILE).write_text(json.dumps({"weight_map": kept}))


def spell_twice(folder: Path) -> None:
    index = json.loads((folder / INDEX_FILE).read_text())
    name = "layers.2.mlp.up_proj.weight"
    index["weight_map"][f"model.{name}"] = index["weight_map"][name]
    (folder / INDEX_FILE).write_text(json.dumps(index))
    rewrite(folder, lambda tensors: tensors.update({f"model.{name}": tensors[name].clone()}))


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a layer is missing": (
        lambda folder: unlist(folder, 2),
        r"lacks 11 of the 61 tensors that layers 0 to 5 need; "
        r"the first is 'layers\.2\.input_layernorm\.weight'",
    ),
    "the last read layer is missing": (
        lambda folder: unlist(folder, 5),
        r"lacks 5 of .* the first is 'layers\.5\.input_layernorm\.weight'",
    ),
    "a shard is missing": (
        lambda folder: (folder / "model-00002-of-00004.safetensors").unlink(),
        r"model-00002-of-00004\.safetensors is missing",
    ),
    "a shard is cut": (
        lambda folder: (folder / "model-00002-of-00004.safetensors").write_bytes(b"\x08"),
        r"model-00002-of-00004\.safetensors is not a whole safetensors file",
    ),
    "a shard lacks what the index names": (
        lambda folder: rewrite(folder, lambda ts: ts.pop("layers.2.mlp.up_proj.weight")),
        r"lacks 'layers\.2\.mlp\.up_proj\.weight', which model\.safetensors\.index\.json names",
    ),
    "two spellings of one tensor": (
        spell_twice,
        r"holds '\S*layers\.2\.mlp\.up_proj\.weight', which was read as '\S+' already",
    ),
    "another shape": (
        lambda folder: rewrite(
            folder, lambda ts: ts.update({"layers.2.mlp.up_proj.weight": torch.zeros(3, 32)})
        ),
        r"layers\.2\.mlp\.up_proj\.weight is \[3, 32\], the config says \[64, 32\]",
    ),
    "too few layers": (
        lambda folder: set_config(folder, num_hidden_layers=5),
        "the card reads layer 5, the checkpoint has 5",
    ),
    "fewer kinds than layers": (
        lambda folder: set_config(folder, layer_types=["full_attention"] * 6),
        r"config\.json is not a valid qwen3 config.*layer_types",
    ),
}


@pytest.mark.parametrize(("breaks", "message"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_named(
    breaks: Callable[[Path], Any],
    message: str,
    published: Path,
    open_published: Callable[[], Ranker],
) -> None:
    breaks(published)
    with pytest.raises(CheckpointError, match=f"(?s){message}"):
        open_published()
    assert not (published / "ran").exists()


def test_an_unexpected_tensor_is_named_as_it_is_spelled(
    published: Path, open_published: Callable[[], Ranker]
) -> None:
    shards = json.loads((published / INDEX_FILE).read_text())["weight_map"]
    shards["gate.weight"] = "model-00001-of-00004.safetensors"
    (published / INDEX_FILE).write_text(json.dumps({"weight_map": shards}))
    path = published / "model-00001-of-00004.safetensors"
    save_file(load_file(path) | {"gate.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r"holds the unexpected tensor 'gate\.weight'"):
        open_published()


@pytest.mark.parametrize(
    ("num_layers", "first"), [(36, r"model\.layers\.10\."), (6, r"model\.norm\.weight'")]
)
def test_the_next_token_loss_needs_what_was_cut_off(
    num_layers: int, first: str, published: Path, golden_card: dict[str, Any]
) -> None:
    set_config(published, num_hidden_layers=num_layers)
    found = Checkpoint(Card.model_validate(golden_card), published, None, None)
    with pytest.raises(CheckpointError, match=rf"lacks \d+ tensors, among them '{first}"):
        load_whole_decoder(found, torch.device("cpu"), torch.float32)
    assert not (published / "ran").exists()
