"""Finds the folder that keeps what is fetched or made once."""

import os
from pathlib import Path

import platformdirs

from blockrank_server.models.errors import CheckpointError

_NO_HOME = (
    "there is no home folder to keep the cache in: set HOME or XDG_CACHE_HOME to a folder that "
    "can be written to, or the setting cache_dir"
)
_ADVICE = "; set XDG_CACHE_HOME, or cache_dir, to another folder"


class NoHomeError(CheckpointError):
    """The user has no home, and nothing else says where the cache is."""


def cache_folder(given: Path | None) -> Path:
    """Return the folder given, else this program's in the user's cache; it need not exist.

    Raises:
        NoHomeError: none is given, and the user has none.
    """
    if given is not None:
        return given
    try:
        return platformdirs.user_cache_path("blockrank-server")
    except RuntimeError as error:
        raise NoHomeError(_NO_HOME) from error


def make_cache_folder(folder: Path) -> Path:
    """Make the folder where it is missing.

    Raises:
        CheckpointError: it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(cannot_write(folder, error)) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CheckpointError(f"cannot write to cache {folder}: Permission denied{_ADVICE}")
    return folder


def cannot_write(folder: Path, error: Exception) -> str:
    """Say that a cache is out of use, and what to do."""
    reason = getattr(error, "strerror", None) or error
    return f"cannot write to cache {folder}: {reason}{_ADVICE}"


def check_hub_cache(given: Path | None) -> None:
    """Refuse a hub's cache that has no place.

    Raises:
        NoHomeError: none is given, and the hub's library, which reads HF_HOME too, has none.
    """
    # Here and not on top: only names of the hub need it.
    from huggingface_hub import constants  # noqa: PLC0415

    if given is None and str(constants.HF_HUB_CACHE).startswith("~"):
        raise NoHomeError(_NO_HOME.replace("XDG_CACHE_HOME", "HF_HOME"))


def hub_cache_folder(cache_dir: Path | None, *, offline: bool) -> Path | None:
    """Return the folder for the hub's files, and None for that of its own library.

    Raises:
        CheckpointError: it has no place, or cannot be written to.
    """
    if cache_dir is None:
        check_hub_cache(None)
        return None
    folder = cache_dir / "hub"
    return folder if offline else make_cache_folder(folder)
