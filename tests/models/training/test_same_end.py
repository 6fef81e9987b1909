"""Runs that must end alike: killed and resumed, and over several processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from blockrank_server.models.training.config import TrainConfig

MakeConfig = Callable[..., TrainConfig]
RunTrain = Callable[..., Path]
History = Callable[[Path], list[dict[str, float]]]
ADAPTER = "adapter_model.safetensors"
QUIET = {"log_every": 1, "save_every": 1, "report_to": []}

# Ends the process in the middle of the second checkpoint: its weights are written, no more.
KILLED = """
import os, signal, sys
from blockrank_server.models.training.trainer import RankTrainer
save = RankTrainer._save_optimizer_and_scheduler
def save_or_die(self, folder):
    if self.state.global_step == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    save(self, folder)
RankTrainer._save_optimizer_and_scheduler = save_or_die
from blockrank_server.service.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def yaml_of(config: TrainConfig, path: Path) -> Path:
    path.write_text(config.model_dump_json())  # JSON is YAML
    return path


def python(*arguments: object, cache: Path) -> subprocess.CompletedProcess[str]:
    """A process of this interpreter, off the network."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=os.environ
        | {"HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_killed_run_resumed_ends_like_one_that_was_not(
    make_config: MakeConfig, run_train: RunTrain, tmp_path: Path, history: History
) -> None:
    changes = {
        "lora": {"rank": 4, "dropout": 0.2},
        "steps": 6,
        "logging": QUIET | {"save_every": 2},
    }
    whole = run_train(make_config(output=str(tmp_path / "whole"), **changes))
    config = make_config(output=str(tmp_path / "killed"), **changes)
    done = python("-c", KILLED, "train", yaml_of(config, tmp_path / "run.yaml"), cache=tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = sorted(path.name for path in config.output.glob("checkpoint-*"))
    assert left == ["checkpoint-2", "checkpoint-4"]

    killed = run_train(config, is_resuming=True)

    expected = load_file(whole / ADAPTER)
    for name, tensor in load_file(killed / ADAPTER).items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-6)
    losses = {report["step"]: report["loss"] for report in history(whole) if "loss" in report}
    resumed = {report["step"]: report["loss"] for report in history(killed) if "loss" in report}
    assert resumed == pytest.approx(losses, rel=1e-4)


def test_resuming_from_an_earlier_checkpoint_ends_the_same(
    make_config: MakeConfig, run_train: RunTrain, tmp_path: Path
) -> None:
    config = make_config(steps=3, optimizer={"learning_rate": 1e-2})
    folder = run_train(config)
    expected = load_file(folder / ADAPTER)
    run_train(config, is_resuming=True, checkpoint=folder / "checkpoint-1")
    for name, tensor in load_file(folder / ADAPTER).items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-6)


def test_two_processes_equal_one(
    make_config: MakeConfig, run_train: RunTrain, toy_lists: Path, tmp_path: Path, history: History
) -> None:
    sources = [{"path": str(toy_lists), "validation_lists": 3}]
    changes = {"data": {"sources": sources, "documents": [3, 6]}, "steps": 2}
    one = run_train(make_config(output=str(tmp_path / "one"), lists_per_forward=2, **changes))
    config = make_config(output=str(tmp_path / "two"), **changes)
    launch = ["-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu"]
    launch += ["--num_processes", "2", "--main_process_port", "0"]
    launch += ["-m", "blockrank_server.service", "train"]
    launch += [str(yaml_of(config, tmp_path / "run.yaml"))]
    done = python(*launch, cache=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(config.output)
    expected = load_file(one / ADAPTER)
    for name, tensor in load_file(config.output / ADAPTER).items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-5)
    for ours, theirs in zip(history(config.output), history(one), strict=True):
        same = ours.keys() & {"loss", "p@1", "rr", "eval_rr", "eval_contrastive", "epoch", "step"}
        assert same
        for name in same:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4), name
