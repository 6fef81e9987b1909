"""Handles paths as people type them: from a home folder, or to where nothing can be written."""

import os
from pathlib import Path


def obstacle(folder: Path) -> str | None:
    """Say why nothing can be written into a folder, which need not be there yet; None if it can."""
    if folder.parts[:1] and folder.parts[0].startswith("~"):
        return f"{folder.parts[0]} is no home folder that is known"
    found = folder
    while not os.path.lexists(found) and found != found.parent:
        found = found.parent
    if not found.is_dir():
        return f"{found} is no folder"
    if not os.access(found, os.W_OK | os.X_OK):
        return f"{found} cannot be written to"
    return None


def expand_user(path: Path | str) -> Path:
    """Replace ~ by a home; where none is known, the path is left, and no such file is found.

    Path.expanduser would raise RuntimeError.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
