"""Names a checkpoint by what is in its files, where a folder's path says nothing of it."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from blockrank_server.models.checkpoint.checkpoint import Checkpoint
from blockrank_server.models.errors import CheckpointError


def digest_files(paths: Iterable[Path]) -> str:
    """Digest names and contents: a training run may write the same size again.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def content_digest(found: Checkpoint) -> str:
    """Digest all that a checkpoint's numbers depend on, beside its card.

    A local folder is read as a whole, 14 GB in about 20 s; a revision stands for its files.

    Raises:
        CheckpointError: a file cannot be read.
    """
    try:
        weights = found.revision or _digest_folder(found.folder)
        adapter = _digest_folder(found.adapter) if found.adapter is not None else ""
    except OSError as error:
        raise CheckpointError(f"cannot read {error.filename}: {error.strerror}") from error
    return f"{weights}+{adapter}"


def _digest_folder(folder: Path) -> str:
    return digest_files([*folder.glob("*.safetensors"), *folder.glob("*.json")])
