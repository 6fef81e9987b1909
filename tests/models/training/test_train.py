"""Whole runs on the golden tiny checkpoint: they learn, report, and are served."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.ranker import Ranker
from blockrank_server.models.training.base_checkpoint import BaseCheckpoint
from blockrank_server.models.training.config import TrainConfig

MakeConfig = Callable[..., TrainConfig]
RunTrain = Callable[..., Path]
History = Callable[[Path], list[dict[str, float]]]
ADAPTER = "adapter_model.safetensors"
QUIET = {"log_every": 1, "save_every": 1, "report_to": []}


def test_twenty_queries_are_learnt(
    make_config: MakeConfig, run_train: RunTrain, toy_lists: Path, history: History
) -> None:
    folder = run_train(
        make_config(
            lora=None,
            data={"sources": [{"path": str(toy_lists)}], "documents": 4},
            optimizer={"learning_rate": 5e-3},
            lists_per_step=20,
            lists_per_forward=20,
            steps=50,
            logging=QUIET | {"save_every": 50},
        )
    )
    reports = [report for report in history(folder) if "loss" in report]
    assert reports[0]["loss"] > 1
    assert reports[-1]["loss"] < 0.1
    assert reports[-1]["p@1"] == 1.0


def test_bfloat16_learns_too(
    make_config: MakeConfig, run_train: RunTrain, toy_lists: Path, tmp_path: Path, history: History
) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text("".join(toy_lists.read_text().splitlines(keepends=True)[:4]))
    for i, lora in enumerate(({"rank": 8}, None)):
        config = make_config(
            output=f"{make_config().output}-{i}",
            dtype="bfloat16",
            lora=lora,
            data={"sources": [{"path": str(few)}], "documents": 4},
            lists_per_forward=4,
            optimizer={"learning_rate": 5e-3},
            steps=15,
            logging=QUIET | {"save_every": 15},
        )
        losses = [report["loss"] for report in history(run_train(config)) if "loss" in report]
        assert losses[-1] < losses[0] / 2


def test_the_trained_adapter_is_what_is_served(
    make_config: MakeConfig, run_train: RunTrain, tiny_model: Path
) -> None:
    config = make_config(optimizer={"learning_rate": 1e-2}, name="mine")
    folder = run_train(config)
    query, documents = "what is a river?", ["All about a river.", "All about money.", "Paris"]
    trained = Ranker.open(tiny_model, adapter=folder, device="cpu")
    scores = trained.rank(query, documents)
    assert scores != pytest.approx(Ranker.open(tiny_model, device="cpu").rank(query, documents))
    by_card = Ranker.open(tiny_model, card=folder / "rerank_card.json", device="cpu")
    assert by_card.rank(query, documents) == scores
    assert by_card.card.name == "mine"
    # The model that was trained gives the same scores, its adapters beside the weights.
    base = BaseCheckpoint.open(config)
    model, weights = base.load(config, torch.device("cpu"))
    weights.load(folder)
    with torch.no_grad():
        reader = model._engine.score([trained.encode(query, documents)])[0]
    assert scores == pytest.approx(reader, abs=1e-5)


def test_all_trained_weights_are_a_checkpoint_of_their_own(
    make_config: MakeConfig, run_train: RunTrain, tiny_model: Path
) -> None:
    folder = run_train(make_config(lora=None, optimizer={"learning_rate": 1e-2}))
    scores = Ranker.open(folder, device="cpu").rank("what?", ["a river", "money"])
    plain = Ranker.open(tiny_model, device="cpu").rank("what?", ["a river", "money"])
    assert scores != pytest.approx(plain, abs=1e-3)


def test_training_goes_on_from_an_adapter(
    make_config: MakeConfig, run_train: RunTrain, tmp_path: Path
) -> None:
    first = run_train(
        make_config(output=str(tmp_path / "first"), optimizer={"learning_rate": 1e-2})
    )
    config = make_config(
        output=str(tmp_path / "second"),
        adapter=str(first),
        steps=1,
        optimizer={"learning_rate": 1e-9, "warmup": 0},
    )
    before, after = load_file(first / ADAPTER), load_file(run_train(config) / ADAPTER)
    assert all(torch.allclose(after[name], before[name], atol=1e-7) for name in before)
    with pytest.raises(CheckpointError, match="the config's lora says"):
        run_train(make_config(output=str(tmp_path / "x"), adapter=str(first), lora={"rank": 3}))


def test_held_out_lists_are_measured_by_source(
    make_config: MakeConfig, run_train: RunTrain, toy_lists: Path, tmp_path: Path, history: History
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(toy_lists.read_text())
    sources = [
        {"path": str(path), "validation_lists": count}
        for path, count in ((toy_lists, 6), (other, 4))
    ]
    config = make_config(
        data={"sources": sources, "documents": 4}, logging=QUIET | {"evaluate_every": 2}
    )
    reports = [report for report in history(run_train(config)) if "eval_rr" in report]
    assert [report["step"] for report in reports] == [0, 2, 3]
    for report in reports:
        by_source = [report["eval_rr/toy"], report["eval_rr/other"]]
        assert report["eval_rr"] == pytest.approx(sum(by_source) / 2)


def test_metrics_go_to_tensorboard(make_config: MakeConfig, run_train: RunTrain) -> None:
    folder = run_train(make_config(logging=QUIET | {"report_to": ["tensorboard"]}))
    events = EventAccumulator(str(next(folder.glob("runs/*"))))
    events.Reload()
    assert {"train/loss", "train/rr", "train/lists_per_s"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3]
