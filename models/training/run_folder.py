"""Manages the folder of a run: its config, its checkpoints, and in the end the trained ranker."""

import json
import platform
from pathlib import Path
from typing import Any

import torch
import transformers

from blockrank_server.models.checkpoint.adapter import ADAPTER_FILE
from blockrank_server.models.checkpoint.card import CARD_FILE, Card
from blockrank_server.models.checkpoint.weights import SINGLE_FILE
from blockrank_server.models.files.output_file import write_text
from blockrank_server.models.files.paths import expand_user, obstacle
from blockrank_server.models.files.text import read_text
from blockrank_server.models.training.checkpoints import (
    check_complete,
    last_checkpoint,
    remove_incomplete,
)
from blockrank_server.models.training.config import TrainConfig
from blockrank_server.models.training.errors import ConfigError, TrainingError
from blockrank_server.models.training.trained_weights import TrainedWeights

CONFIG_FILE, RESULT_FILE = "train_config.json", "train_result.json"
# What may differ when a run is resumed: it changes no result.
_FREE: dict[str, Any] = {
    "output": True,
    "logging": True,
    "workers": True,
    "device": True,
    "data": {"root": True},
}


class RunFolder:
    """Manages a run's folder.

    Args:
        config: its output is the folder.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.path = expand_user(config.output)
        self._config = config

    def check_free(self) -> None:
        """Refuse a folder in use for a new run.

        Raises:
            ConfigError: there is something in it, or nothing can be written there.
        """
        if fault := obstacle(self.path):
            raise ConfigError(f"output {self.path}: {fault}")
        if self.path.is_dir() and any(self.path.iterdir()):
            raise ConfigError(
                f"output {self.path} is not empty: resume that run (--resume), or name another"
            )

    def resume(self, checkpoint: Path | None) -> Path:
        """Return the checkpoint to go on from.

        Args:
            checkpoint: must be one of this run; None takes the latest.

        Raises:
            TrainingError: there is none that is whole.
            ConfigError: the run was started with another config.
        """
        found = checkpoint or last_checkpoint(self.path)
        check_complete(found)
        if found.resolve().parent != self.path.resolve():
            raise ConfigError(f"{found} is a checkpoint of another run than output {self.path}")
        path = self.path / CONFIG_FILE
        try:
            started = TrainConfig.model_validate_json(read_text(path))
        except (OSError, ValueError) as error:
            raise TrainingError(f"{path} is not the config of a run: {error}") from error
        if changed := _changed(_fixed(started), _fixed(self._config)):
            raise ConfigError(f"{path} was started with other {', '.join(changed)}")
        return found

    def is_finished(self, checkpoint: Path) -> bool:
        """Say whether the run has ended after this checkpoint, with everything written."""
        weights = ADAPTER_FILE if self._config.lora else SINGLE_FILE
        written = (weights, CARD_FILE, RESULT_FILE)
        is_last = checkpoint.resolve() == last_checkpoint(self.path).resolve()
        return is_last and all((self.path / name).is_file() for name in written)

    def prepare(self) -> None:
        """Write the config and clear what a kill has left. For one process to do."""
        self.path.mkdir(parents=True, exist_ok=True)
        remove_incomplete(self.path)
        text = self._config.model_dump_json(indent=1)
        write_text(self.path / CONFIG_FILE, text + "\n")

    def finish(
        self, weights: TrainedWeights, card: Card, dtype: torch.dtype, history: list[dict[str, Any]]
    ) -> None:
        """Write the trained ranker and how it came to be. For one process to do."""
        weights.save(self.path, dtype)
        # A calibration is of the scores of other weights.
        card = weights.card(card).model_copy(update={"calibration": None})
        if self._config.name is not None:
            card = card.model_copy(update={"name": self._config.name})
        text = card.model_dump_json(indent=1, exclude_defaults=True)
        write_text(self.path / CARD_FILE, text + "\n")
        result = {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            "history": history,
        }
        write_text(self.path / RESULT_FILE, json.dumps(result, indent=1) + "\n")


def _fixed(config: TrainConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", exclude=_FREE)


def _changed(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the keys whose values differ."""
    names = []
    for key, value in before.items():
        if isinstance(value, dict) and isinstance(after[key], dict):
            names += _changed(value, after[key], f"{prefix}{key}.")
        elif value != after[key]:
            names.append(f"{prefix}{key}")
    return names
