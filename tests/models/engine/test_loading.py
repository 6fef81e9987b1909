"""Quantizing while loading: the whole network never stands at full width."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import CONFIG_MAPPING, PretrainedConfig

from blockrank_server.models.engine.loading import load_network
from blockrank_server.models.engine.network import Network
from blockrank_server.models.engine.quantize import quantize
from blockrank_server.models.quantization.names import Quantization

LAST_LAYER = 8
CPU = torch.device("cpu")


def config(family: str = "mistral") -> PretrainedConfig:
    fields = {
        "vocab_size": 50,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": LAST_LAYER + 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "sliding_window": None,
    }
    return CONFIG_MAPPING[family].from_dict(fields)


def write(folder: Path, of: PretrainedConfig) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    tensors = {n: torch.randn_like(t) for n, t in Network(of, LAST_LAYER).state_dict().items()}
    save_file({f"model.{n}": t for n, t in tensors.items()}, folder / "model.safetensors")
    return tensors


@pytest.mark.parametrize("family", ["mistral", "qwen2"])
@pytest.mark.parametrize("how", ["fp8", "int8", "int4"])
def test_a_tensor_at_a_time_is_the_same_as_all_at_once(
    how: Quantization, family: str, tmp_path: Path
) -> None:
    whole = Network(config(family), LAST_LAYER)
    whole.load_state_dict(write(tmp_path, config(family)))
    quantize(whole.bfloat16(), how)
    found = load_network(
        tmp_path, config(family), LAST_LAYER, CPU, torch.bfloat16, quantization=how
    )
    expected = whole.state_dict()
    assert found.state_dict().keys() == expected.keys()
    for name, tensor in found.state_dict().items():
        assert torch.equal(tensor.float(), expected[name].float()), name
    assert not [name for name, p in found.named_parameters() if p.requires_grad]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("how", ["int8", "int4"])
def test_no_more_than_a_layer_stands_at_full_width(
    how: Quantization,
    dtype: torch.dtype,
    tmp_path: Path,
    peak_bytes: Callable[[Callable[[], object]], int],
) -> None:
    tensors = write(tmp_path, config())
    layer = sum(t.numel() for n, t in tensors.items() if n.startswith("layers.0."))
    network: list[Network] = []
    measured = peak_bytes(
        lambda: network.append(
            load_network(tmp_path, config(), LAST_LAYER, CPU, dtype, quantization=how)
        )
    )
    # The file is mapped, not read: the log has the whole of it, the machine what is looked at.
    measured -= (tmp_path / "model.safetensors").stat().st_size
    kept = sum(tensor.nbytes for tensor in network[0].state_dict().values())
    assert kept < measured < kept + layer * dtype.itemsize
