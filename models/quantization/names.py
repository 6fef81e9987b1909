"""Names the quantizations, apart from what they do: settings are read before torch is imported."""

from typing import Literal

Quantization = Literal["none", "fp8", "dynamic_int8", "int8", "int4"]
QuantizationSetting = Literal["auto", Quantization]
