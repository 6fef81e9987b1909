"""Runs that must not start, and one that must not go on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blockrank_server.models.data.errors import DataError
from blockrank_server.models.errors import CardError, CheckpointError
from blockrank_server.models.training.config import TrainConfig
from blockrank_server.models.training.errors import ConfigError, TrainingError
from blockrank_server.models.training.nan_report import NotFiniteError

MakeConfig = Callable[..., TrainConfig]
RunTrain = Callable[..., Path]
ADAPTER = "adapter_model.safetensors"
QUIET = {"log_every": 1, "save_every": 1, "report_to": []}


def test_a_loss_that_is_no_number_stops_with_the_batch_saved(
    make_config: MakeConfig, run_train: RunTrain, toy_lists: Path
) -> None:
    config = make_config(optimizer={"learning_rate": 1e30, "warmup": 0}, lists_per_forward=2)
    with pytest.raises(NotFiniteError, match=r"of step 2 is (nan|inf); its lists"):
        run_train(config)
    folder = config.output / "nan-step-2-process-0"
    saved = json.loads((folder / "batch.json").read_text())
    assert [len(lists) for lists in saved] in ([2], [2, 2])
    for found in (found for lists in saved for found in lists):
        path, line = found["where"].split(":")
        row = json.loads(Path(path).read_text().splitlines()[int(line) - 1])
        assert found["query_id"] == row["query_id"]
        assert set(found["doc_ids"]) <= {document["doc_id"] for document in row["documents"]}
        assert len(found["token_ids"]) == len(found["position_ids"])
    assert (folder / ADAPTER).is_file()
    assert not (config.output / "checkpoint-2").exists()
    assert not (config.output / ADAPTER).exists()


def write_bad_lists(folder: Path, toy_lists: Path) -> str:
    path = folder / "bad.jsonl"
    row = json.loads(toy_lists.read_text().splitlines()[0])
    path.write_text(json.dumps(row) + "\n" + json.dumps(row | {"answer_ids": ["x"]}) + "\n")
    return str(path)


def test_lists_at_fault_are_told_before_any_training(
    make_config: MakeConfig, run_train: RunTrain, toy_lists: Path, tmp_path: Path
) -> None:
    bad = write_bad_lists(tmp_path, toy_lists)
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        (
            {"data": {"sources": [{"path": bad}, {"path": "gone.jsonl"}]}},
            DataError,
            r"bad\.jsonl:2: answer_ids\[0\] is no document of the list; gone\.jsonl: no such file",
        ),
        ({"loss": {"distillation": 1}}, DataError, r"toy\.jsonl:1: no teacher_scores"),
        (
            {"data": {"sources": [{"path": str(toy_lists)}], "documents": 1001}},
            ConfigError,
            "data.documents is 1001, card .* allows 1000",
        ),
        ({"steps": None, "epochs": 0.1}, ConfigError, "less than one step"),
    ]
    refuse(wrong, make_config, run_train)


def test_models_and_settings_at_fault_are_told_before_any_training(
    make_config: MakeConfig, run_train: RunTrain, tiny_model: Path, tmp_path: Path
) -> None:
    card = json.loads((tiny_model / "rerank_card.json").read_text())

    def with_card(name: str, **changes: Any) -> str:
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(card | changes))
        return str(path)

    head = with_card("head", read=[{"layer": 1, "heads": [4]}])
    layer = with_card("layer", read=[{"layer": 6, "heads": "all"}])
    free = with_card("free", prompt=card["prompt"] | {"document": [{"text": "{content}"}]})
    wandb = QUIET | {"report_to": ["wandb"]}
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"card": head}, CardError, "names head 4, the checkpoint has 4"),
        ({"card": layer}, CheckpointError, "the card reads layer 6, the checkpoint has 6"),
        ({"lora": {"first_layer": 5}}, ConfigError, "lora: none of .* from layer 5 on"),
        ({"loss": {"lm": 1}, "card": free}, ConfigError, r"needs documents with a \{number\}"),
        ({"loss": {"lm": 1, "answer_end": "</x>"}}, CheckpointError, "no control token '</x>'"),
        ({"logging": wandb}, ConfigError, "names wandb, which is not installed"),
        ({"model": str(tmp_path / "gone")}, CheckpointError, "is no folder"),
        ({"lora": None, "adapter": str(tmp_path)}, ConfigError, "adapter goes with lora"),
    ]
    refuse(wrong, make_config, run_train)


def refuse(
    wrong: list[tuple[dict[str, Any], type[Exception], str]],
    make_config: MakeConfig,
    run_train: RunTrain,
) -> None:
    """Each change of the config is told, and nothing is written."""
    for changes, kind, message in wrong:
        with pytest.raises(kind, match=message):
            run_train(make_config(**changes))
        assert not make_config().output.exists(), message


def test_a_folder_in_use_and_what_cannot_be_resumed(
    make_config: MakeConfig, run_train: RunTrain, tmp_path: Path
) -> None:
    folder = run_train(make_config(steps=1))
    with pytest.raises(ConfigError, match="is not empty: resume that run"):
        run_train(make_config(steps=1))
    with pytest.raises(ConfigError, match=r"was started with other loss\.temperature, steps"):
        run_train(make_config(steps=2, loss={"temperature": 0.5}), is_resuming=True)
    (folder / "checkpoint-1/complete").unlink()
    with pytest.raises(TrainingError, match="holds no whole checkpoint"):
        run_train(make_config(steps=1), is_resuming=True)
    with pytest.raises(TrainingError, match="is no whole checkpoint"):
        run_train(make_config(steps=1), is_resuming=True, checkpoint=folder / "checkpoint-1")
