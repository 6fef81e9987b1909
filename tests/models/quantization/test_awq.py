"""AWQ's packing: unpacked as its formula says, and every other format refused."""

from typing import Any

import pytest
import torch
from torch import nn

from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.quantization.awq import AwqFormat, AwqLinear

FORMAT = {
    "quant_method": "awq",
    "bits": 4,
    "version": "gemm",
    "zero_point": True,
    "group_size": 128,
    "modules_to_not_convert": None,
}
# Where AutoAWQ's packer puts eight columns in a word, from the low bits up.
ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def packed(numbers: torch.Tensor) -> torch.Tensor:
    """Pack rows as AutoAWQ does, by a loop."""
    words = torch.zeros(len(numbers), numbers.shape[1] // 8, dtype=torch.int64)
    for word in range(words.shape[1]):
        for place, column in enumerate(ORDER):
            words[:, word] |= numbers[:, 8 * word + column] << 4 * place
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("num_out", "num_in", "group"), [(24, 96, 32), (8, 128, 128), (40, 6, 2)])
def test_a_weight_is_step_minus_zero_times_scale(
    num_out: int, num_in: int, group: int, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(1)
    steps = torch.randint(0, 16, (num_in, num_out), generator=generator)
    zeros = torch.randint(0, 16, (num_in // group, num_out), generator=generator)
    scales = (torch.rand(num_in // group, num_out, generator=generator) / 8).half()
    linear = nn.Linear(num_in, num_out)
    parts = {"qweight": packed(steps), "qzeros": packed(zeros), "scales": scales}
    shapes = AwqFormat(group).shapes(num_out, num_in)
    assert shapes == {name: part.shape for name, part in parts.items()}

    layer = AwqLinear(linear, parts, dtype)

    spread = [x.repeat_interleave(group, 0) for x in (zeros, scales.float())]
    expected = ((steps - spread[0]) * spread[1]).T
    assert torch.equal(layer.whole_weight(), expected.to(dtype))
    x = torch.randn(3, num_in, generator=generator).to(dtype)
    linear.to(dtype)
    torch.testing.assert_close(layer(x), nn.functional.linear(x, expected.to(dtype), linear.bias))


def test_it_takes_a_quarter_of_bfloat16() -> None:
    num_out, num_in = 256, 512
    parts = {
        name: torch.zeros(shape, dtype=torch.float16 if name == "scales" else torch.int32)
        for name, shape in AwqFormat(128).shapes(num_out, num_in).items()
    }
    layer = AwqLinear(nn.Linear(num_in, num_out, bias=False), parts, torch.bfloat16)
    num_bytes = sum(buffer.numel() * buffer.itemsize for buffer in layer.buffers())
    assert num_bytes == num_out * num_in // 2 + 3 * num_out * num_in // 128


WRONG: dict[str, dict[str, Any]] = {
    "quant_method": {"quant_method": "gptq"},
    "bits": {"bits": 8},
    "version": {"version": "gemv"},
    "zero_point": {"zero_point": False},
    "modules_to_not_convert": {"modules_to_not_convert": ["down_proj"]},
    "group_size": {"group_size": -1},
}


@pytest.mark.parametrize(("field", "change"), WRONG.items(), ids=WRONG)
def test_another_format_is_refused_by_name(field: str, change: dict[str, Any]) -> None:
    assert AwqFormat.of(FORMAT) == AwqFormat.of(FORMAT | {"version": "GEMM"}) == AwqFormat(128)
    with pytest.raises(
        CheckpointError,
        match=rf"quantization_config\.{field} is {change[field]!r}".replace("[", r"\["),
    ):
        AwqFormat.of(FORMAT | change)
    if field != "modules_to_not_convert":
        without = {name: value for name, value in FORMAT.items() if name != field}
        with pytest.raises(CheckpointError, match=rf"quantization_config\.{field} is "):
            AwqFormat.of(without)


@pytest.mark.parametrize("size", [(12, 128), (16, 100)])
def test_layers_that_cannot_be_packed(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"multiples of 8 .* group size 128"):
        AwqFormat(128).shapes(*size)
