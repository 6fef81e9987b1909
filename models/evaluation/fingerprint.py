"""Tells what decides a ranker's scores, in a form that can be compared."""

import hashlib
from pathlib import Path

from blockrank_server.models.checkpoint.checkpoint import Checkpoint
from blockrank_server.models.checkpoint.content_digest import digest_files
from blockrank_server.models.engine.placement import Placement


def fingerprint(found: Checkpoint, placement: Placement) -> dict[str, str]:
    """Return what two runs must have in common to be of the same ranker.

    Raises:
        OSError: a file cannot be read.
    """
    names = placement.names()
    return {
        "name": found.card.name,
        "card": _digest(found.card.model_dump_json(exclude={"calibration"}).encode()),
        "weights": found.revision or _files(found.folder),
        "adapter": _files(found.adapter) if found.adapter else "none",
        "device": names["device"].partition(":")[0],
        "dtype": names["dtype"],
        "quantization": names["quantization"],
    }


def _files(folder: Path) -> str:
    return digest_files(folder.glob("*.safetensors"))[:16]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
