"""Names of the quantizations; apart from what they do, for settings are read before torch is."""

from typing import Literal

Quantization = Literal["none", "fp8", "int8", "int4"]
