"""Tensors of a checkpoint into the network: only those it keeps, and none left over unexplained."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers import PretrainedConfig

from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.network import Network

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
_PREFIX = "model."
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")
# What a decoder has and a score does not need.
_NEVER_NEEDED = ("model.norm.", "lm_head.")
_LAST_LAYER_NEEDS = ("input_layernorm.", "self_attn.q_", "self_attn.k_")


def is_needed(name: str, last_layer: int) -> bool:
    """Whether the tensor of this name takes part in scores read up to last_layer (0-based)."""
    if match := _LAYER.fullmatch(name):
        layer, part = int(match[1]), match[2]
        return layer < last_layer or (layer == last_layer and part.startswith(_LAST_LAYER_NEEDS))
    return not name.startswith(_NEVER_NEEDED)


def tensor_files(folder: Path) -> dict[str, str]:
    """File of each tensor, by the folder's index.

    Raises:
        CheckpointError: an index that is not one.
    """
    path = folder / INDEX_FILE
    try:
        files = json.loads(path.read_bytes())["weight_map"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is not an index of tensors: {error}") from error
    if bad := [f for f in files.values() if Path(f).name != f or not f.endswith(".safetensors")]:
        raise CheckpointError(f"{path} points outside its folder or to no safetensors: {bad[0]!r}")
    return dict(files)


def load_network(
    folder: Path,
    config: PretrainedConfig,
    last_layer: int,
    device: torch.device,
    dtype: torch.dtype,
) -> Network:
    """The network with its weights, ready to score.

    Args:
        folder: holds model.safetensors, or shards and their index.
        config: of the checkpoint.
        last_layer: 0-based, the last read layer.
        device: where the weights go.
        dtype: what they are converted to.

    Raises:
        CheckpointError: no such file, a broken one, or a tensor missing, unexpected or of another
            shape than the config says.
    """
    with torch.device("meta"):
        network = Network(config, last_layer)
    wanted = {_PREFIX + name: tensor.shape for name, tensor in network.state_dict().items()}
    state = {}
    for path, name, tensor in _tensors(folder, last_layer):
        if name not in wanted:
            raise CheckpointError(f"{path} holds the unexpected tensor {name!r}")
        if tensor.shape != wanted[name]:
            raise CheckpointError(
                f"{path}: {name} is {list(tensor.shape)}, the config says {list(wanted[name])}"
            )
        state[name.removeprefix(_PREFIX)] = tensor.to(device, dtype, copy=True)
    if missing := wanted.keys() - {_PREFIX + name for name in state}:
        raise CheckpointError(f"{folder} lacks {len(missing)} tensors, among them {min(missing)!r}")
    network.load_state_dict(state, assign=True)
    network.restore_rotary(device)
    return network.requires_grad_(False).eval()


def _tensors(folder: Path, last_layer: int) -> Iterator[tuple[Path, str, torch.Tensor]]:
    for path, names in _files(folder, last_layer).items():
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                for name in names if names is not None else file.keys():
                    if is_needed(name, last_layer):
                        yield path, name, file.get_tensor(name)
        except FileNotFoundError as error:
            raise CheckpointError(f"{path} is missing") from error
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is not a whole safetensors file: {error}") from error


def _files(folder: Path, last_layer: int) -> Mapping[Path, Iterable[str] | None]:
    """Files to read and the names to read of them; None for every name in it."""
    if not (folder / INDEX_FILE).exists():
        return {folder / SINGLE_FILE: None}
    found: dict[Path, list[str]] = {}
    for name, file in tensor_files(folder).items():
        if is_needed(name, last_layer):
            found.setdefault(folder / file, []).append(name)
    return found
