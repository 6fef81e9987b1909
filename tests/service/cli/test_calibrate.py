"""The command calibrate, on the golden tiny checkpoint."""

import json
from pathlib import Path
from typing import Any

import pytest

from blockrank_server.models.checkpoint.calibration import Calibration, probability
from blockrank_server.models.checkpoint.card import BUILT_IN, load_card
from blockrank_server.models.ranker import Ranker
from blockrank_server.service.cli.main import main

TOPICS = ("river", "bank", "money", "music", "garden", "engine", "doctor", "planet", "violin")


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """BlockRank's card, with a read layer the tiny checkpoint has."""
    fields = json.loads((BUILT_IN / "quicktensor--blockrank-msmarco-mistral-7b.json").read_text())
    path = tmp_path / "card.json"
    path.write_text(json.dumps(fields | {"read": [{"layer": 4, "heads": "all"}]}))
    return path


@pytest.fixture
def model(fixtures: Path, card: Path) -> list[str]:
    return ["--model", str(fixtures / "blockrank"), "--card", str(card), "--device", "cpu"]


@pytest.fixture
def lists(tmp_path: Path, fixtures: Path, card: Path) -> Path:
    """Nine queries, whose judge agrees with what the checkpoint ranks first."""
    ranker = Ranker.open(fixtures / "blockrank", card=card, device="cpu")
    rows = []
    for topic in TOPICS:
        texts = [f"All about {each}." for each in TOPICS]
        scores = ranker.rank(f"what is {topic}?", texts)
        best = sorted(range(9), key=scores.__getitem__, reverse=True)[:2]
        rows.append(
            {
                "query_id": topic,
                "query": f"what is {topic}?",
                "documents": [{"doc_id": t, "text": x} for t, x in zip(TOPICS, texts, strict=True)],
                "answer_ids": [TOPICS[i] for i in best],
            }
        )
    path = tmp_path / "toy.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def told(arguments: list[Any], capsys: pytest.CaptureFixture[str]) -> str:
    """What is wrong with the command, in a line."""
    assert main(list(map(str, arguments))) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    return said.removeprefix("error: ").rstrip()


def calibration_of(card: Path) -> Calibration:
    found = load_card(card).calibration
    assert found is not None
    return found


def test_a_card_is_calibrated_in_place(
    tmp_path: Path,
    fixtures: Path,
    card: Path,
    lists: Path,
    model: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = tmp_path / "table.jsonl"
    command = ["calibrate", str(lists), *model, "--lists", "150", "--table", str(table)]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "| toy, half | the others |" in printed.out
    assert f"wrote {table}\nwrote {card}" in printed.err
    calibration = calibration_of(card)
    assert (calibration.fitted_on, calibration.num_lists) == (("toy",), 150)
    assert calibration.level_weight == 0.5
    ranker = Ranker.open(fixtures / "blockrank", card=card, device="cpu")
    query, texts = "what is river?", [f"All about {each}." for each in TOPICS]
    pending = ranker.start([ranker.encode(query, texts)])
    [shares], [level] = pending.result(), pending.levels()
    expected = [probability(calibration.logit(share, 9, level)) for share in shares]
    assert ranker.rank(query, texts) == pytest.approx(expected, abs=1e-6)
    assert ranker.rank_batch([(query, texts)])[0] == pytest.approx(expected, abs=1e-6)
    assert main([*command, "--level-weight", "0.25"]) == 0
    assert str(table) not in capsys.readouterr().err  # nothing was scored
    assert calibration_of(card).level_weight == 0.25


def test_a_card_is_refitted_and_judged(
    tmp_path: Path, card: Path, lists: Path, model: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", str(lists), *model, "--lists", "120", "--level-weight", "0.25"]) == 0
    capsys.readouterr()
    assert main(["calibrate", str(lists), *model, "--refit"]) == 0
    assert "| all | as it was | 9 |" in capsys.readouterr().out
    refitted = calibration_of(card)
    assert (refitted.level_weight, refitted.num_lists) == (0.25, 9)
    plot = tmp_path / "reliability.svg"
    judging = ["calibrate", str(lists), *model, "--judge", "--lists", "20", "--plot", str(plot)]
    assert main(judging) == 0
    said = capsys.readouterr().out
    assert "| toy | share |" in said
    assert "\n| mean probability | 0." in said
    assert plot.read_text().startswith("<?xml")
    assert calibration_of(card) == refitted


def test_scores_are_measured_in_other_company(
    tmp_path: Path, card: Path, lists: Path, model: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", str(lists), *model, "--lists", "120"]) == 0
    capsys.readouterr()
    short = ["calibrate", lists, *model, "--judge", "--lists", "3", "--invariance", "1"]
    assert told(short, capsys).endswith(
        "no list with judgements has 100 documents, which --invariance needs"
    )
    assert told(["calibrate", lists, *model, "--invariance", "1"], capsys) == (
        "--invariance needs --judge"
    )
    texts = [f"{a} {b}" for a in TOPICS for b in (*TOPICS, "house", "sea", "sun")]
    rows = [
        {
            "query_id": topic,
            "query": f"what is {topic}?",
            "documents": [{"doc_id": text, "text": text} for text in texts],
            "answer_ids": [f"{topic} sea"],
        }
        for topic in TOPICS
    ]
    long = tmp_path / "long.jsonl"
    long.write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = card.read_bytes()
    command = ["calibrate", str(long), *model, "--judge", "--lists", "1", "--invariance", "1"]
    assert main([*command, "--shuffles", "2"]) == 0
    printed = capsys.readouterr().out
    assert "| lists: 1 | sd of the score (goal: 0.15) |" in printed
    # BlockRank numbers its documents, so that their order has its say.
    assert "Shuffled 2 times, 0 of 1 lists of 20 documents came out in one order" in printed
    assert card.read_bytes() == before


def test_another_card_is_written(
    tmp_path: Path, card: Path, lists: Path, model: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before, out = card.read_bytes(), tmp_path / "below" / "new.json"
    assert main(["calibrate", str(lists), *model, "--lists", "120", "--out", str(out)]) == 0
    assert card.read_bytes() == before
    found = load_card(out)
    assert found.calibration is not None
    assert found.model_copy(update={"calibration": None}) == load_card(card)


def test_what_cannot_be_calibrated_is_told_in_a_line(
    tmp_path: Path, card: Path, lists: Path, model: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["calibrate", lists, *model]
    said = told([*command, "--lists", 20], capsys)
    assert said.endswith(
        "lists with judgements, 100 are needed; 50 judgements are enough for --refit"
    )
    assert told([*command, "--refit"], capsys).endswith("has no calibration yet")
    assert told(["calibrate", lists, "--card", "default"], capsys) == (
        "--out is missing: where --card is no file, another one is written"
    )
    assert told([*command, "--table", lists / "t"], capsys).startswith(f"--table {lists}: ")
    table = tmp_path / "table.jsonl"
    table.write_text('{"name": "other"}\n')
    assert "was made with name = other" in told([*command, "--table", table], capsys)
    table.write_text("{")
    assert f"{table} is no table of scores" in told([*command, "--table", table], capsys)
    assert told([*command, "--plot", "a.png"], capsys) == "--plot needs --judge"
    for flag, value, fault in (
        ("--level-weight", "1.5", "is not a number from 0 to 1"),
        ("--plot", "a.txt", "does not end in .png or .svg"),
    ):
        with pytest.raises(SystemExit):
            main(["calibrate", str(lists), flag, value])
        assert f"'{value}' {fault}" in capsys.readouterr().err
    assert load_card(card).calibration is None
