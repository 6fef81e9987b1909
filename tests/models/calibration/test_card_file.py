"""A calibration is put into a card's file, whose other lines stay as they were."""

import json
from pathlib import Path
from typing import Any

from blockrank_server.models.calibration.card_file import write_calibration
from blockrank_server.models.checkpoint.any_card import load_any_card
from blockrank_server.models.checkpoint.calibration import Calibration
from blockrank_server.models.checkpoint.card import BUILT_IN, Card, load_card

FIELDS: dict[str, Any] = {
    "slope": 1.25,
    "intercept": -2.0,
    "level_weight": 0.5,
    "any_relevant_from": 0.2,
    "fitted_on": ["a", "b, {c}"],
    "num_lists": 500,
    "ece": 0.03,
    "auroc": 0.7,
}
CALIBRATION = Calibration.model_validate(FIELDS)


def test_every_built_in_card_takes_one_and_another_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    cards = [path for path in BUILT_IN.glob("*.json") if isinstance(load_any_card(path), Card)]
    assert len(cards) >= 3
    for built_in in cards:
        text = built_in.read_text()
        path.write_text(text)
        for slope in (1.25, 2.5):
            write_calibration(path, CALIBRATION.model_copy(update={"slope": slope}))
            card = load_card(path)
            assert card.calibration is not None
            assert card.calibration.slope == slope
            left = card.model_copy(update={"calibration": None})
            assert left == load_card(built_in).model_copy(update={"calibration": None})
        lines = path.read_text().splitlines()
        kept = [line for line in text.splitlines() if '"calibration"' not in line]
        assert [line for line in lines if '"calibration"' not in line] == kept


def test_a_card_on_one_line_and_one_spread_out(tmp_path: Path) -> None:
    path, fields = tmp_path / "card.json", json.loads((BUILT_IN / "default.json").read_text())
    for indent in (None, 2):
        for before in ({}, {"calibration": None}, {"calibration": FIELDS}):
            path.write_text(json.dumps(fields | before, indent=indent))
            write_calibration(path, CALIBRATION)
            assert json.loads(path.read_text()) == fields | {"calibration": FIELDS}
