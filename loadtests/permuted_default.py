"""Writes the embedded default with its hidden units reordered: the same function, other groups.

    python loadtests/permuted_default.py FOLDER

The default comes in 4 bits in groups of 32 inputs, which int4 with the same groups gives back
unchanged. Here every group is made of weights of many of those groups, as in a checkpoint that was
never quantised: what int4 does to this folder's scores is what it does to scores.
"""

import argparse
import json
import shutil
from pathlib import Path

import platformdirs
import torch
from safetensors.torch import load_file, save_file

from blockrank_server.models.checkpoint.card import BUILT_IN, CARD_FILE, load_card
from blockrank_server.models.checkpoint.gguf import converted_folder
from blockrank_server.models.checkpoint.model_config import load_model_config
from blockrank_server.models.checkpoint.weights import SINGLE_FILE

_READ_HIDDEN = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
_WRITE_HIDDEN = ("o_proj", "down_proj")
Tensors = dict[str, torch.Tensor]


def permuted(tensors: Tensors, num_heads: int, num_kv_heads: int, seed: int) -> Tensors:
    """Reorder the hidden state, the units of each MLP and the values' dimensions."""
    random = torch.Generator().manual_seed(seed)
    embeddings = tensors["model.embed_tokens.weight"]
    order = torch.randperm(embeddings.shape[1], generator=random)
    found = {"model.embed_tokens.weight": embeddings[:, order]}
    for name, tensor in tensors.items():
        part = name.split(".")[-2]
        if part.endswith("layernorm"):
            found[name] = tensor[order]
        elif part in _READ_HIDDEN:
            found[name] = tensor[:, order]
        elif part in _WRITE_HIDDEN:
            found[name] = tensor[order]
    for prefix in {name.rpartition("mlp.")[0] for name in tensors if ".mlp." in name}:
        _permute_layer(found, prefix, num_heads, num_kv_heads, random)
    return {name: tensor.contiguous() for name, tensor in found.items()}


def _permute_layer(
    tensors: Tensors, prefix: str, num_heads: int, num_kv_heads: int, random: torch.Generator
) -> None:
    gate, up, down = (f"{prefix}mlp.{part}_proj.weight" for part in ("gate", "up", "down"))
    order = torch.randperm(len(tensors[gate]), generator=random)
    tensors[gate], tensors[up] = tensors[gate][order], tensors[up][order]
    tensors[down] = tensors[down][:, order]
    value, output = (f"{prefix}self_attn.{part}_proj.weight" for part in ("v", "o"))
    dims = len(tensors[value]) // num_kv_heads
    order = torch.randperm(dims, generator=random)
    by_head = tensors[value].reshape(num_kv_heads, dims, -1)
    tensors[value] = by_head[:, order].flatten(0, 1)
    by_head = tensors[output].reshape(-1, num_heads, dims)
    tensors[output] = by_head[:, :, order].flatten(1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the weights and a card are written")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    card = load_card(BUILT_IN / "default.json")
    assert card.weights is not None
    cache = platformdirs.user_cache_path("blockrank-server")
    source = converted_folder(card.weights, card.last_layer, cache)
    config = load_model_config(source)
    tensors = permuted(
        load_file(source / SINGLE_FILE),
        config.num_attention_heads,
        config.num_key_value_heads,
        args.seed,
    )
    args.folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, args.folder / SINGLE_FILE)
    for name in ("config.json", "tokenizer.json"):
        shutil.copyfile(source / name, args.folder / name)
    fields = card.model_dump(mode="json") | {"name": "default-permuted", "weights": None}
    (args.folder / CARD_FILE).write_text(json.dumps(fields, indent=1) + "\n")


if __name__ == "__main__":
    main()
