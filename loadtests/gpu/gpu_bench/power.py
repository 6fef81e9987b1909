"""The card's clock and power, as nvidia-smi sees them while rows are measured."""

import subprocess
import threading
import time
from statistics import fmean, median

_COMMAND = [
    "nvidia-smi",
    "--query-gpu=clocks.sm,power.draw",
    "--format=csv,noheader,nounits",
    "--loop-ms=200",
]


class PowerLog:
    """Reads nvidia-smi in the background; silent where there is none."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, float, float]] = []
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Begin to read, until stop."""
        try:
            self._process = subprocess.Popen(
                _COMMAND, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        except OSError:
            return
        threading.Thread(target=self._read, daemon=True).start()

    def stop(self) -> None:
        """End nvidia-smi."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def since(self, started: float) -> dict[str, float | None]:
        """Median clock and mean power since a time of time.monotonic."""
        seen = [(mhz, watts) for at, mhz, watts in list(self._samples) if at >= started]
        if not seen:
            return {"mhz": None, "watts": None}
        return {"mhz": median(mhz for mhz, _ in seen), "watts": fmean(watts for _, watts in seen)}

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                mhz, watts = map(float, line.split(","))
            except ValueError:  # a figure that this card does not tell
                continue
            self._samples.append((time.monotonic(), mhz, watts))
