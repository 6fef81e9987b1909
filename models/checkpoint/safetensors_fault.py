"""Explains why a safetensors file cannot be opened, in words that say what to do."""

import json
from pathlib import Path

from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.files.stand_in import is_pickle, stand_in_at

# A file begins with the number of bytes of its header, which is JSON.
_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def unusable(path: Path, error: Exception) -> CheckpointError:
    """Return the error to raise for a file that could not be opened.

    Args:
        error: what opening it raised; shown where nothing better can be said.
    """
    if not path.exists():
        found = sorted(p.name for kind in _PICKLES for p in path.parent.glob(kind))
        hint = f", and {found[0]} is a pickle, which is never opened; convert it" if found else ""
        return CheckpointError(f"{path} is missing{hint}")
    if path.is_dir():
        return CheckpointError(f"{path} is a folder, not a safetensors file")
    if fault := stand_in_at(path):
        return CheckpointError(f"{path} {fault}")
    pickle = "it is a pickle, which is never opened; convert it" if is_pickle(path) else None
    reason = pickle or _cut(path) or error
    return CheckpointError(f"{path} is not a whole safetensors file: {reason}")


def _cut(path: Path) -> str | None:
    """Tell how much of a file is there, if it is only its beginning."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if header_bytes > _MAX_HEADER_BYTES:
                return None
            end = _LENGTH_BYTES + header_bytes
            if size >= end:
                fields = json.loads(file.read(header_bytes))
                end += max(x["data_offsets"][1] for x in fields.values() if "data_offsets" in x)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
    return f"it is cut off after {size} bytes of {end} or more" if size < end else None
