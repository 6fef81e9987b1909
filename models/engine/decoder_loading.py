"""Loads every tensor of a checkpoint into a whole decoder, its final norm and head among them."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig

from blockrank_server.models.checkpoint.model_config import check_config
from blockrank_server.models.checkpoint.weights import DECODER, tensors
from blockrank_server.models.engine.network import ATTENTION
from blockrank_server.models.engine.whole_decoder import WholeDecoder
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.quantization.awq import PARTS, AwqFormat, AwqLinear

_HEAD = "lm_head.weight"
_EMBEDDING = "embed_tokens.weight"


def load_decoder(
    folder: Path, config: PretrainedConfig, device: torch.device, dtype: torch.dtype
) -> WholeDecoder:
    """Make the decoder with its weights, ready to generate.

    Args:
        folder: holds model.safetensors, or shards and their index; linear layers whole, or packed
            in 4 bits as AWQ does, which they stay.
        config: must be that of the checkpoint.
        device: gets the weights.
        dtype: is what whole weights are converted to, and what packed ones are made whole in.

    Raises:
        CheckpointError: a file is missing or broken; a tensor is missing, unexpected, or of another
            shape than the config says; the checkpoint is packed in another way; or its weights do
            not fit the device.
    """
    check_config(config, config.num_hidden_layers - 1)
    awq = AwqFormat.of(config.quantization_config) if is_packed(config) else None
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config, attn_implementation=ATTENTION, trust_remote_code=False
        )
    loading = _Loading(WholeDecoder(model), awq, device, dtype, is_tied=config.tie_word_embeddings)
    try:
        for path, name, tensor in tensors(folder, None):
            loading.add(path, name, tensor)
    except torch.OutOfMemoryError as error:
        raise CheckpointError(f"the weights of {folder} do not fit {device}: {error}") from error
    return loading.finished(folder)


def is_packed(config: PretrainedConfig) -> bool:
    """Say whether a checkpoint's linear layers are packed in fewer bits."""
    return getattr(config, "quantization_config", None) is not None


def num_bytes(decoder: WholeDecoder) -> int:
    """Count the bytes of its weights, as they are kept."""
    tensors_kept = [*decoder.parameters(), *decoder.buffers()]
    return sum(tensor.numel() * tensor.itemsize for tensor in tensors_kept)


class _Loading:
    """Puts tensors in their places, in whatever order they come."""

    def __init__(
        self,
        decoder: WholeDecoder,
        awq: AwqFormat | None,
        device: torch.device,
        dtype: torch.dtype,
        *,
        is_tied: bool,
    ) -> None:
        self._decoder, self._device, self._dtype = decoder, device, dtype
        self._is_tied = is_tied
        self._shapes = {name: tensor.shape for name, tensor in decoder.state_dict().items()}
        self._parts: dict[str, dict[str, torch.Tensor]] = {}
        self._spelled: dict[str, str] = {}
        if awq is not None:
            self._expect_packed(awq)

    def add(self, path: Path, name: str, tensor: torch.Tensor) -> None:
        """Take one tensor.

        Raises:
            CheckpointError: it has no place, or not that shape.
        """
        bare = name.removeprefix(DECODER)
        expected = self._shapes.get(bare)
        if expected is None:
            raise CheckpointError(f"{path} holds the unexpected tensor {name!r}")
        if (before := self._spelled.get(bare)) is not None:
            raise CheckpointError(f"{path} holds {name!r}, which was read as {before!r} already")
        if tensor.shape != expected:
            raise CheckpointError(
                f"{path}: {name} is {list(tensor.shape)}, the config says {list(expected)}"
            )
        self._spelled[bare] = name
        module, _, part = bare.rpartition(".")
        if part in PARTS:
            self._add_part(path, module, part, tensor)
        elif not (self._is_tied and bare == _HEAD):
            self._place(module, part, tensor)

    def finished(self, folder: Path) -> WholeDecoder:
        """Return the decoder.

        Raises:
            CheckpointError: a tensor is missing; naming the first.
        """
        decoder = self._decoder
        if self._is_tied:
            self._spelled.setdefault(_HEAD, _EMBEDDING)
        if missing := [name for name in self._shapes if name not in self._spelled]:
            raise CheckpointError(
                f"{folder} lacks {len(missing)} of the {len(self._shapes)} tensors that the whole "
                f"decoder needs; the first is {missing[0]!r}"
            )
        if self._is_tied:
            decoder.lm_head.weight = decoder.embed_tokens.weight
        decoder.rotary_emb = type(decoder.rotary_emb)(decoder.config).to(self._device)
        return decoder.requires_grad_(False).eval()

    def _expect_packed(self, awq: AwqFormat) -> None:
        """Replace what is expected of the layers' linear modules."""
        for name, module in self._decoder.layers.named_modules(prefix="layers"):
            if isinstance(module, nn.Linear):
                del self._shapes[f"{name}.weight"]
                try:
                    shapes = awq.shapes(module.out_features, module.in_features)
                except ValueError as error:
                    raise CheckpointError(f"{name}: {error}") from error
                self._shapes |= {f"{name}.{part}": shape for part, shape in shapes.items()}

    def _add_part(self, path: Path, module: str, part: str, tensor: torch.Tensor) -> None:
        kind = torch.float16 if part == "scales" else torch.int32
        if tensor.dtype != kind:
            raise CheckpointError(f"{path}: {module}.{part} is {tensor.dtype}, {kind} is needed")
        parts = self._parts.setdefault(module, {})
        parts[part] = tensor.to(self._device)
        if len(parts) == len(PARTS):
            self._pack(module, self._parts.pop(module))

    def _pack(self, name: str, parts: Mapping[str, torch.Tensor]) -> None:
        linear = self._decoder.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        self._decoder.set_submodule(name, AwqLinear(linear, parts, self._dtype))

    def _place(self, module: str, part: str, tensor: torch.Tensor) -> None:
        moved = tensor.to(self._device, self._dtype, copy=True)
        owner = self._decoder.get_submodule(module)
        setattr(owner, part, nn.Parameter(moved, requires_grad=False))
