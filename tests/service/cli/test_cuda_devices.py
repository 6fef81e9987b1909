"""A CUDA device that is not there is refused before anything begins, by the driver's own word."""

from typing import Any

import pytest

from blockrank_server.models.engine import cuda_driver
from blockrank_server.models.errors import CheckpointError
from blockrank_server.service.cli.exit_codes import UsageError
from blockrank_server.service.cli.options import check_model
from blockrank_server.service.settings import Settings


def test_a_torch_without_cuda_has_no_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "version", lambda _: "9.9+cpu")
    with pytest.raises(UsageError, match="device 'cuda': the torch installed here has no CUDA"):
        check_model(Settings(device="cuda"))


@pytest.mark.parametrize(
    ("device", "num_devices", "reason"),
    [
        ("cuda", 0, "the CUDA driver finds 0 devices; use cpu"),
        ("cuda:2", 2, "the CUDA driver finds 2 devices, cuda:0 to cuda:1"),
        ("cuda:1", 2, None),
        ("cuda", 1, None),
        ("auto", 0, None),
        ("cpu", 0, None),
    ],
)
def test_the_driver_knows_how_many_devices_there_are(
    device: str, num_devices: int, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_driver, "version", lambda _: "9.9+cu130")
    monkeypatch.setattr(cuda_driver, "count_devices", lambda: num_devices)
    settings = Settings(device=device)
    if reason is None:
        check_model(settings)
    else:
        with pytest.raises(UsageError, match=reason):
            check_model(settings)


def test_without_a_driver_there_is_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "_DRIVER", "libabsent.so.1")
    with pytest.raises(CheckpointError, match=r"no CUDA driver \(libabsent\.so\.1\)"):
        cuda_driver.count_devices()


def test_torch_for_amd_does_without_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "version", lambda _: "9.9+rocm7.0")
    monkeypatch.setattr(cuda_driver, "_DRIVER", "libabsent.so.1")
    check_model(Settings(device="cuda"))


class FakeDriver:
    """What libcuda.so.1 answers."""

    def __init__(self, init_status: int, count_status: int) -> None:
        self.init_status, self.count_status = init_status, count_status

    def cuInit(self, flags: int) -> int:
        return self.init_status

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = 3
        return self.count_status


def test_the_driver_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([(0, 0), (100, 1), (999, 0), (0, 3)])
    monkeypatch.setattr("ctypes.CDLL", lambda _: FakeDriver(*next(answers)))
    assert cuda_driver.count_devices() == 3
    assert cuda_driver.count_devices() == 0
    for status in (999, 3):
        with pytest.raises(CheckpointError, match=rf"error {status} \(CUresult\)"):
            cuda_driver.count_devices()
