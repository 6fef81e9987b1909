"""A run that is resumed when it is finished, or from what is no checkpoint of it."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from blockrank_server.models.training.config import TrainConfig
from blockrank_server.models.training.errors import ConfigError, TrainingError

MakeConfig = Callable[..., TrainConfig]
RunTrain = Callable[..., Path]


def contents(folder: Path) -> Mapping[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_is_left_as_it_is(make_config: MakeConfig, run_train: RunTrain) -> None:
    config = make_config(steps=2)
    folder = run_train(config)
    before = contents(folder)
    said: list[str] = []
    for checkpoint in (None, folder / "checkpoint-2"):
        assert run_train(config, is_resuming=True, checkpoint=checkpoint, tell=said.append)
    assert contents(folder) == before
    assert said == [f"{folder}: this run is finished, and nothing is changed"] * 2


def test_a_run_that_was_stopped_at_its_end_is_finished(
    make_config: MakeConfig, run_train: RunTrain
) -> None:
    config = make_config(steps=2)
    folder = run_train(config)
    result, weights = folder / "train_result.json", folder / "adapter_model.safetensors"
    expected = json.loads(result.read_text())["history"]
    before = weights.read_bytes()
    result.unlink()
    weights.unlink()
    run_train(config, is_resuming=True)
    assert weights.read_bytes() == before
    history = json.loads(result.read_text())["history"]
    losses = [report["loss"] for report in expected if "loss" in report]
    assert [report["loss"] for report in history if "loss" in report] == losses
    assert not [report for report in history if "train_loss" in report]  # of no step at all


def test_a_checkpoint_of_another_run_is_refused(
    make_config: MakeConfig, run_train: RunTrain, tmp_path: Path
) -> None:
    config = make_config(steps=2)
    folder = run_train(config)
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    with pytest.raises(ConfigError, match="is a checkpoint of another run than output"):
        run_train(config, is_resuming=True, checkpoint=other / "checkpoint-1")


def test_a_checkpoint_with_an_empty_file_is_refused(
    make_config: MakeConfig, run_train: RunTrain
) -> None:
    config = make_config(steps=1)
    folder = run_train(config)
    (folder / "train_result.json").unlink()
    (folder / "checkpoint-1/optimizer.pt").write_bytes(b"")
    with pytest.raises(TrainingError, match=r"no whole checkpoint: optimizer\.pt is empty"):
        run_train(config, is_resuming=True)


def test_an_output_that_cannot_be_is_told_before_training(
    make_config: MakeConfig, run_train: RunTrain, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for output in ("file", "file/below"):
        with pytest.raises(ConfigError, match="file is no folder"):
            run_train(make_config(output=str(tmp_path / output)))
