"""Training the embedded default."""

import json
from pathlib import Path
from typing import Any

import pytest

from blockrank_server.models.checkpoint.card import built_in_cards, load_card
from blockrank_server.models.ranker import Ranker
from blockrank_server.models.training.base_checkpoint import BaseCheckpoint
from blockrank_server.models.training.config import TrainConfig
from blockrank_server.models.training.config_file import load_train_config
from blockrank_server.models.training.run import train

ROOT = Path(__file__).parents[3]


def test_the_shipped_recipe_ends_with_what_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    served = load_card(built_in_cards()["default"])
    recipe = load_train_config(ROOT / "models/training/default.yaml")
    assert BaseCheckpoint.open(recipe).found.card == served
    adapter = json.loads((ROOT / "models/cards/default/adapter_config.json").read_text())
    assert recipe.lora is not None
    assert recipe.adapter is None
    assert adapter["r"] == recipe.lora.rank
    assert adapter["lora_alpha"] == recipe.lora.alpha


def test_its_trained_adapter_is_served_by_name(tmp_path: Path, toy_lists: Path) -> None:
    fields: dict[str, Any] = {
        "output": str(tmp_path / "run"),
        "data": {"sources": [{"path": str(toy_lists)}], "documents": 3},
        "lora": {"rank": 4, "first_layer": 12},
        "optimizer": {"learning_rate": 1e-2, "warmup": 0},
        "lists_per_step": 2,
        "lists_per_forward": 2,
        "steps": 1,
        "device": "cpu",
        "logging": {"report_to": []},
    }
    folder = train(TrainConfig.model_validate(fields), cache_dir=tmp_path / "cache")
    query, documents = "what is a river?", ["All about a river.", "All about money."]
    ranker = Ranker.open("default", adapter=folder, device="cpu")
    scores = ranker.rank(query, documents)
    by_card = Ranker.open("default", card=folder / "rerank_card.json", device="cpu")
    assert by_card.rank(query, documents) == scores
    shipped = Ranker.open("default", device="cpu")
    assert scores != pytest.approx(shipped.rank(query, documents), abs=1e-3)
    assert ranker.info.revision == by_card.info.revision != shipped.info.revision
