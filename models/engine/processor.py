"""Says what the processor multiplies fast: torch runs everything everywhere, only slower."""

import torch


def has_bfloat16_products() -> bool:
    """Tell whether products in bfloat16 have instructions of their own."""
    return _has("avx512_bf16", "amx_bf16")


def has_int8_products() -> bool:
    """Tell whether products of bytes have instructions of their own, which do not saturate."""
    return _has("avx512_vnni", "amx_int8")


def _has(*names: str) -> bool:
    found = torch.cpu.get_capabilities()
    return any(found.get(name) for name in names)
