"""Converts a GGUF file into safetensors, once: later starts read the converted folder.

transformers reads GGUF by taking every block of every layer apart (tens of seconds); the folder
written here holds only the layers a card reads, in fp32, and opens in about a second.
"""

import hashlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

import torch
from gguf import GGUFReader
from safetensors import SafetensorError
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel, Digits, PreTokenizer, Sequence
from transformers import AutoModelForCausalLM, AutoTokenizer

from blockrank_server.models.checkpoint.cache import cannot_write
from blockrank_server.models.checkpoint.card import Weights
from blockrank_server.models.checkpoint.weights import SINGLE_FILE, is_needed
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.files.stand_in import stand_in_at

# Part of the folder's name: raise it when what is written changes.
_FORMAT = 1


def converted_folder(weights: Weights, last_layer: int | None, cache_dir: Path) -> Path:
    """Find the folder with config.json, tokenizer.json and model.safetensors of a card's GGUF file.

    It is made on the first call.

    Args:
        weights: the package, file and checksum that the card names.
        last_layer: 0-based; the layers above are left out, and norm and head. None keeps all.
        cache_dir: keeps the converted folders.

    Raises:
        CheckpointError: the package or file is missing, or is not the one the card names.
    """
    kept = "whole" if last_layer is None else f"layers{last_layer + 1}"
    name = f"{Path(weights.file).stem}-{weights.sha256[:16]}-{kept}-v{_FORMAT}"
    folder = cache_dir / name
    if folder.is_dir():
        return folder
    source = weights_file(weights)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache_dir))
    except OSError as error:
        raise CheckpointError(cannot_write(cache_dir, error)) from error
    try:
        try:
            _convert(source, last_layer, scratch)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(cannot_write(cache_dir, error)) from error
        try:
            os.replace(scratch, folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was first with the same content
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def weights_file(weights: Weights) -> Path:
    """Find the GGUF file that a card names, and check it.

    Raises:
        CheckpointError: the package or file is missing, or is not the one the card names.
    """
    spec = importlib.util.find_spec(weights.package)
    if spec is None or not spec.submodule_search_locations:
        raise CheckpointError(
            f"package {weights.package} with the weights is not installed: {weights.install}"
        )
    path = Path(spec.submodule_search_locations[0]) / weights.file
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    if found != weights.sha256 and (fault := stand_in_at(path)):
        raise CheckpointError(f"{path} {fault}")
    if found != weights.sha256:
        raise CheckpointError(f"{path} has sha256 {found}, the card names {weights.sha256}")
    return path


def _convert(source: Path, last_layer: int | None, folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.float32, local_files_only=True
    )
    tensors = {
        name: tensor.clone()
        for name, tensor in model.state_dict().items()
        if is_needed(name, last_layer)
    }
    save_file(tensors, folder / SINGLE_FILE)
    del model.config.quantization_config  # the tensors written are not quantized any more
    model.config.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(
        source.parent, gguf_file=source.name, local_files_only=True
    ).backend_tokenizer
    tokenizer.pre_tokenizer = _pre_tokenizer(source)
    tokenizer.save(str(folder / "tokenizer.json"))
    for path in (folder, *folder.iterdir()):  # readable by the user a container runs as
        path.chmod(0o755 if path.is_dir() else 0o644)


def _pre_tokenizer(source: Path) -> PreTokenizer:
    """Make the splitter of text before merging, which transformers does not take from the file."""
    field = GGUFReader(source).get_field("tokenizer.ggml.pre")
    kind = field.contents() if field else None
    if kind != "smollm":
        raise CheckpointError(f"{source} splits text as {kind!r}, only 'smollm' is supported")
    return Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
