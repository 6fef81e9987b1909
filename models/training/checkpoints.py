"""Finds the checkpoints of a run, and which of them a kill has left whole."""

import re
import shutil
from pathlib import Path

from blockrank_server.models.training.errors import TrainingError

# Written last, once every process has written its part.
_COMPLETE = "complete"
_NAME = re.compile(r"checkpoint-(\d+)")


def mark_complete(checkpoint: Path) -> None:
    """Say that everything of a checkpoint is written."""
    (checkpoint / _COMPLETE).touch()


def last_checkpoint(run: Path) -> Path:
    """Return the latest whole checkpoint of a run's folder.

    Raises:
        TrainingError: there is none.
    """
    whole = {step: path for step, path in _checkpoints(run).items() if _is_complete(path)}
    if not whole:
        raise TrainingError(f"{run} holds no whole checkpoint to resume from")
    return whole[max(whole)]


def check_complete(checkpoint: Path) -> None:
    """Refuse a folder that is no whole checkpoint.

    Raises:
        TrainingError: it was not written to the end, or is none.
    """
    if not _is_complete(checkpoint):
        raise TrainingError(f"{checkpoint} is no whole checkpoint")
    # What a machine that lost its power, or a copy that was stopped, leaves behind.
    for path in sorted(checkpoint.iterdir()):
        if path.name != _COMPLETE and path.is_file() and not path.stat().st_size:
            raise TrainingError(
                f"{checkpoint} is no whole checkpoint: {path.name} is empty; name an earlier one"
            )


def remove_incomplete(run: Path) -> None:
    """Delete what a kill has left half written."""
    for path in _checkpoints(run).values():
        if not _is_complete(path):
            shutil.rmtree(path)


def _checkpoints(run: Path) -> dict[int, Path]:
    return {int(m[1]): path for path in run.glob("*") if (m := _NAME.fullmatch(path.name))}


def _is_complete(checkpoint: Path) -> bool:
    return (checkpoint / _COMPLETE).is_file()
