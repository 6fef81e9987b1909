"""Copies small tables from the CPU to a device, without waiting for the device."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def upload(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Make a tensor of the array's shape and dtype on the device.

    On CUDA the copy is queued behind the work already there. It goes through pinned memory, since
    one out of pageable memory may wait for that work.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type == "cuda" and tensor.numel():
        tensor = tensor.pin_memory()  # torch keeps the memory until the copy has ended
    return tensor.to(device, non_blocking=True)
