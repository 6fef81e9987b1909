"""The command train: what it hands on, and how faults come out."""

from collections.abc import Callable
from importlib import util
from pathlib import Path
from typing import Any

import pytest

from blockrank_server.models.data.errors import DataError
from blockrank_server.models.training import run
from blockrank_server.models.training.config import TrainConfig
from blockrank_server.models.training.errors import TrainingError
from blockrank_server.service.cli.main import main

CONFIG = "output: out\ndata: {sources: [{path: lists.jsonl}]}\nsteps: 3\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(CONFIG)
    return path


class FakeTraining:
    """Takes the place of train, keeps what it was called with."""

    def __init__(self) -> None:
        self.config: TrainConfig
        self.options: dict[str, Any] = {}
        self.tell: Callable[[str], None]
        self.error: Exception | None = None

    def __call__(self, config: TrainConfig, **options: Any) -> Path:
        self.tell = options.pop("tell")
        self.config, self.options = config, options
        if self.error:
            raise self.error
        return config.output


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> FakeTraining:
    fake = FakeTraining()
    monkeypatch.setattr(run, "train", fake)
    return fake


def test_the_config_with_its_assignments_is_trained(
    config: Path, training: FakeTraining, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(config), "--set", "steps=5", "--set", "loss.temperature=0.2"]) == 0
    assert (training.config.steps, training.config.loss.temperature) == (5, 0.2)
    assert training.options == {"is_resuming": False, "checkpoint": None}
    assert capsys.readouterr().out == "out\n"


@pytest.mark.parametrize(
    ("flags", "checkpoint"),
    [(["--resume"], None), (["--resume", "out/checkpoint-2"], Path("out/checkpoint-2"))],
)
def test_resuming(
    flags: list[str], checkpoint: Path | None, config: Path, training: FakeTraining
) -> None:
    assert main(["train", str(config), *flags]) == 0
    assert training.options == {"is_resuming": True, "checkpoint": checkpoint}


def test_faults_of_config_and_data_are_wrong_usage(
    config: Path, training: FakeTraining, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(config), "--set", "stepz=5"]) == 2
    assert capsys.readouterr().err == ("error: --set stepz: unknown key; did you mean steps?\n")
    training.error = DataError(["lists.jsonl:3: answer_ids is empty", "b.jsonl: is empty"])
    assert main(["train", str(config)]) == 2
    assert capsys.readouterr().err == (
        "error: lists.jsonl:3: answer_ids is empty; b.jsonl: is empty\n"
    )


def test_a_run_that_fails_is_a_failure(
    config: Path, training: FakeTraining, capsys: pytest.CaptureFixture[str]
) -> None:
    training.error = TrainingError("the loss of step 2 is nan")
    assert main(["train", str(config)]) == 1
    assert capsys.readouterr().err == "error: the loss of step 2 is nan\n"


def test_a_missing_extra_is_named(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = util.find_spec
    monkeypatch.setattr(
        "blockrank_server.service.cli.extras.find_spec",
        lambda name: None if name == "peft" else find_spec(name),
    )
    assert main(["train", str(config)]) == 2
    assert capsys.readouterr().err == (
        "error: peft missing: pip install 'blockrank-server[train]'\n"
    )
