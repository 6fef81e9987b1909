"""Reads a checkpoint's config.json by transformers' own classes, never by code from the folder."""

import json
from pathlib import Path

from transformers import CONFIG_MAPPING, PretrainedConfig

from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.files.stand_in import stand_in_at

# The model types of transformers whose layers the engine runs.
FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


def load_model_config(folder: Path) -> PretrainedConfig:
    """Read the config of a checkpoint in a folder.

    It may name the kinds of more layers than there are, as a decoder cut after some layers does.

    Raises:
        CheckpointError: missing, broken, or of an unsupported family.
    """
    path = folder / "config.json"
    try:
        fields = json.loads(path.read_bytes())
        family = fields["model_type"]
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = stand_in_at(path) or f"is not a model's config: {error!r}"
        raise CheckpointError(f"{path} {reason}") from error
    if family not in FAMILIES:
        raise CheckpointError(
            f"{path}: model_type {family!r} is not supported, only {', '.join(FAMILIES)}"
        )
    fields.pop("auto_map", None)  # names code in the folder, which is never imported
    try:
        kinds, num_layers = fields.get("layer_types"), fields.get("num_hidden_layers")
        if kinds and num_layers:
            fields["layer_types"] = kinds[:num_layers]
        return CONFIG_MAPPING[family].from_dict(fields)
    except Exception as error:  # transformers validates with errors of several kinds
        raise CheckpointError(f"{path} is not a valid {family} config: {error}") from error


def head_shape(config: PretrainedConfig) -> tuple[int, int, int]:
    """Return the query heads of a layer, its key/value heads, and their width."""
    heads: int = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    return heads, getattr(config, "num_key_value_heads", None) or heads, head_dim


def check_config(config: PretrainedConfig, last_layer: int) -> None:
    """Refuse a config that our attention cannot run.

    Raises:
        CheckpointError: it has too few layers, or sliding-window attention.
    """
    if last_layer >= config.num_hidden_layers:
        raise CheckpointError(
            f"the card reads layer {last_layer}, the checkpoint has {config.num_hidden_layers}"
        )
    windowed = getattr(config, "sliding_window", None) and getattr(
        config, "use_sliding_window", True
    )
    if windowed:
        raise CheckpointError(f"sliding_window {config.sliding_window} is not supported")
