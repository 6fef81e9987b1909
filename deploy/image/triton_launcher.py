"""Compile Triton's launcher where no GPU and no driver is: python triton_launcher.py FOLDER.

Leaves driver.c and cuda_utils.so there, for deploy/image/triton-cc. An empty library of its name
stands in for the driver's: the functions are found in the real one when the module is loaded.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from triton.backends.nvidia import driver
from triton.runtime.build import _build

LIBRARY = driver.libraries[0]  # libcuda.so.1


def main(folder: Path) -> None:
    """Compile into folder."""
    folder.mkdir(parents=True)
    source = Path(driver.__file__).with_name("driver.c")
    with TemporaryDirectory() as scratch:
        empty = [f"-Wl,-soname,{LIBRARY}", "-o", f"{scratch}/{LIBRARY}", "-x", "c", "/dev/null"]
        subprocess.run(["gcc", "-shared", *empty], check=True)
        # As Triton itself would, but for the place of the driver's library.
        directories = [driver.libdevice_dir, scratch]
        built = _build(
            "cuda_utils",
            str(source),
            scratch,
            directories,
            driver.include_dirs,
            driver.libraries,
            # Named once more: a linker that drops what nothing needs would drop an empty library.
            ["-Wl,--no-as-needed", f"-l:{LIBRARY}"],
        )
        shutil.copy(built, folder / "cuda_utils.so")
    shutil.copy(source, folder / "driver.c")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
