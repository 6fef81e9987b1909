"""Reads from a checkpoint's files only the tensors that scores need."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from blockrank_server.models.checkpoint.safetensors_fault import unusable
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.files.stand_in import stand_in_at

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
# AutoModelForCausalLM saves a decoder's tensors with it in front of their names, AutoModel without.
DECODER = "model."
HEAD = "lm_head.weight"
_LAYER = re.compile(r"layers\.(\d+)\.(.+)")
# What a decoder has and a score does not need.
_NEVER_NEEDED = ("norm.", "lm_head.")
_LAST_LAYER_NEEDS = ("input_layernorm.", "self_attn.q_", "self_attn.k_")


def is_needed(name: str, last_layer: int | None) -> bool:
    """Tell whether the tensor of this name takes part in scores.

    Args:
        name: in either spelling, with the decoder's prefix or without.
        last_layer: 0-based, up to which attention is read; None needs the whole decoder, final norm
            and head too.
    """
    if last_layer is None:
        return True
    bare = name.removeprefix(DECODER)
    if match := _LAYER.fullmatch(bare):
        layer, part = int(match[1]), match[2]
        return layer < last_layer or (layer == last_layer and part.startswith(_LAST_LAYER_NEEDS))
    return not bare.startswith(_NEVER_NEEDED)


def tensor_files(folder: Path) -> dict[str, str]:
    """Map each tensor to its file, by the folder's index.

    Raises:
        CheckpointError: an index that is not one.
    """
    path = folder / INDEX_FILE
    try:
        files = dict(json.loads(path.read_bytes())["weight_map"])
        names = list(map(str, files.values()))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = stand_in_at(path) or f"is not an index of tensors: {error}"
        raise CheckpointError(f"{path} {reason}") from error
    if bad := [f for f in names if Path(f).name != f or not f.endswith(".safetensors")]:
        raise CheckpointError(f"{path} points outside its folder or to no safetensors: {bad[0]!r}")
    return files


def tensors(
    folder: Path, last_layer: int | None, head_rows: Sequence[int] = ()
) -> Iterator[tuple[Path, str, torch.Tensor]]:
    """Yield file, name and content of each tensor that scores need.

    Args:
        folder: holds model.safetensors, or shards and their index.
        last_layer: 0-based; nothing above this layer is read. None reads every tensor.
        head_rows: where given, are all that is read of the head.

    Raises:
        CheckpointError: no such file, a broken one, one that lacks what the index says it holds, or
            a head without such rows.
    """
    for path, names in _files(folder, last_layer).items():
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                held = file.keys()
                if lost := sorted(set(names or ()).difference(held)):
                    raise CheckpointError(f"{path} lacks {lost[0]!r}, which {INDEX_FILE} names")
                for name in held if names is None else names:
                    if is_needed(name, last_layer):
                        yield path, name, _tensor(path, file, name, head_rows)
        except (SafetensorError, OSError) as error:
            raise unusable(path, error) from error


def _tensor(path: Path, file: Any, name: str, rows: Sequence[int]) -> torch.Tensor:
    if not rows or name.removeprefix(DECODER) != HEAD:
        tensor: torch.Tensor = file.get_tensor(name)
        return tensor
    matrix = file.get_slice(name)
    if (num_rows := matrix.get_shape()[0]) <= max(rows):
        raise CheckpointError(f"{path}: {name} has {num_rows} rows, row {max(rows)} is needed")
    return torch.cat([matrix[row : row + 1] for row in rows])


def check_tensor_files(folder: Path) -> None:
    """Open and close every file of tensors, for a reader whose own errors name none.

    Raises:
        CheckpointError: a file that is broken, or another than was meant.
    """
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt", device="cpu"):
                pass
        except (SafetensorError, OSError) as error:
            raise unusable(path, error) from error


def _files(folder: Path, last_layer: int | None) -> Mapping[Path, Iterable[str] | None]:
    """Map each file to the names to read of it; None stands for every name in it."""
    if not (folder / INDEX_FILE).exists():
        return {folder / SINGLE_FILE: None}
    found: dict[Path, list[str]] = {}
    for name, file in tensor_files(folder).items():
        if is_needed(name, last_layer):
            found.setdefault(folder / file, []).append(name)
    return found
