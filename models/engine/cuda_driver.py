"""Asks what the CUDA driver says of its devices, without torch, whose import takes seconds."""

import ctypes
import re
import sys
from importlib.metadata import version

from blockrank_server.models.errors import CheckpointError

DEVICE_NAME = re.compile(r"auto|cpu|cuda(?::(?P<index>\d{1,4}))?")
"""Names a device can have here."""

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


def check_device_name(name: str) -> str:
    """Return a device's name if it is one.

    Raises:
        ValueError: it is not auto, cpu, cuda or cuda:N.
    """
    if DEVICE_NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not auto, cpu, cuda or cuda:N")
    return name


def check_device(name: str) -> None:
    """Refuse a device that is certainly not there. What only torch can tell is not asked.

    Raises:
        CheckpointError: the name is none, torch was built without CUDA, there is no CUDA driver, or
            the driver finds too few devices.
    """
    found = DEVICE_NAME.fullmatch(name)
    if found is None:
        raise CheckpointError(f"device {name!r} is not auto, cpu, cuda or cuda:N")
    build = version("torch").partition("+")[2]
    # torch for AMD calls its devices cuda too, and has no use for this driver.
    if not name.startswith("cuda") or build.startswith("rocm"):
        return
    if build == "cpu":
        raise CheckpointError(f"device {name!r}: the torch installed here has no CUDA; use cpu")
    num_devices = count_devices()
    if num_devices <= int(found["index"] or 0):
        raise CheckpointError(
            f"device {name!r}: the CUDA driver finds {num_devices} devices"
            + (f", cuda:0 to cuda:{num_devices - 1}" if num_devices else "; use cpu")
        )


def count_devices() -> int:
    """Count the devices that the CUDA driver lets this process see, as CUDA_VISIBLE_DEVICES says.

    Raises:
        CheckpointError: there is no driver, or it does not work.
    """
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError as error:
        raise CheckpointError(f"there is no CUDA driver ({_DRIVER}); use device cpu") from error
    status = driver.cuInit(0)
    if status == _NO_DEVICE:
        return 0
    count = ctypes.c_int()
    status = status or driver.cuDeviceGetCount(ctypes.byref(count))
    if status:
        raise CheckpointError(f"the CUDA driver fails with error {status} (CUresult)")
    return count.value
