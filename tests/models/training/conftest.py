"""Training on the tiny checkpoints: configs, lists, models."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blockrank_server.models.data.training_list import parse_row
from blockrank_server.models.training.base_checkpoint import BaseCheckpoint
from blockrank_server.models.training.config import TrainConfig
from blockrank_server.models.training.examples import Collator
from blockrank_server.models.training.run import train

WORDS = """river bank money paris berlin music python garden engine doctor
planet coffee winter tennis violin castle bridge orange tiger sun"""
TOPICS = WORDS.split()

Row = dict[str, Any]


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """Of every test here."""


def toy_row(number: int, num_documents: int = 6) -> Row:
    """A list whose answer is the only document that names the query's topic."""
    others = [topic for topic in TOPICS if topic != TOPICS[number]]
    shown = [others[(number * 7 + 3 * i) % len(others)] for i in range(num_documents - 1)]
    shown.insert(number % num_documents, TOPICS[number])
    documents = [{"doc_id": f"{number}-{t}", "text": f"All about {t}."} for t in shown]
    return {
        "query_id": f"q{number}",
        "query": f"what is {TOPICS[number]}?",
        "documents": documents,
        "answer_ids": [f"{number}-{TOPICS[number]}"],
    }


@pytest.fixture(scope="session")
def toy_lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 lists in BlockRank's format."""
    path = tmp_path_factory.mktemp("lists") / "toy.jsonl"
    path.write_text("".join(json.dumps(toy_row(i)) + "\n" for i in range(20)))
    return path


@pytest.fixture
def tiny_model(tmp_path: Path, fixtures: Path, blockrank_card: Row) -> Path:
    """The golden Mistral checkpoint, in fp32 as stored; its card says little in the prompt."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).symlink_to(fixtures / "blockrank" / name)
    start, *_ = blockrank_card["prompt"]["prefix"]
    prompt = blockrank_card["prompt"] | {"prefix": [start, {"text": "Query: {query}"}]}
    (folder / "rerank_card.json").write_text(json.dumps(blockrank_card | {"prompt": prompt}))
    return folder


MakeConfig = Callable[..., TrainConfig]


@pytest.fixture
def make_config(tmp_path: Path, tiny_model: Path, toy_lists: Path) -> MakeConfig:
    """A config of a short run on the toy lists; keywords replace top-level keys."""

    def make(**changes: Any) -> TrainConfig:
        fields: Row = {
            "model": str(tiny_model),
            "output": str(tmp_path / "run"),
            "data": {"sources": [{"path": str(toy_lists)}], "documents": [3, 6]},
            "lists_per_step": 4,
            "steps": 3,
            "device": "cpu",
            "logging": {"log_every": 1, "save_every": 1, "report_to": []},
        }
        return TrainConfig.model_validate(fields | changes)

    return make


@pytest.fixture
def make_batch(toy_lists: Path) -> Callable[..., Any]:
    """The batch of the first toy lists under a config, and the base model it belongs to."""

    def make(config: TrainConfig, num_lists: int = 2, teacher: bool = False) -> Any:
        base = BaseCheckpoint.open(config)
        rows = [json.loads(line) for line in toy_lists.read_text().splitlines()[:num_lists]]
        examples = []
        for i, row in enumerate(rows):
            if teacher:
                row["teacher_scores"] = [float((3 * j + i) % 5) for j in range(6)]
            found = parse_row(row, f"toy:{i + 1}")
            draw = config.data.draw_of(config.data.sources[0])
            examples.append(base.maker.make(found, "toy", draw, random.Random(i)))
        return base, Collator(base.card)(examples)["batch"]

    return make


@pytest.fixture
def run_train(tmp_path: Path) -> Callable[..., Path]:
    """Train with a cache of the test's own; the run's folder."""

    def run(config: TrainConfig, **options: Any) -> Path:
        return train(config, cache_dir=tmp_path / "cache", **options)

    return run


@pytest.fixture
def history() -> Callable[[Path], list[dict[str, float]]]:
    """Every report of a run."""

    def read(folder: Path) -> list[dict[str, float]]:
        found: list[dict[str, float]] = json.loads((folder / "train_result.json").read_text())[
            "history"
        ]
        return found

    return read
