"""The commands evaluate and select-heads, on the golden tiny checkpoint."""

import json
from importlib import util
from pathlib import Path
from typing import Any

import pytest

from blockrank_server.models.checkpoint.card import BUILT_IN, load_card
from blockrank_server.models.ranker import Ranker
from blockrank_server.service.cli.main import main

TOPICS = ("river", "bank", "money", "music", "garden", "engine", "doctor", "planet")


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Eight queries; the answer stands at every position."""
    rows = [
        {
            "query_id": topic,
            "query": f"what is {topic}?",
            "documents": [
                {"doc_id": t, "text": f"All about {t}."}
                for t in dict.fromkeys((*TOPICS[:5], topic))
            ],
            "answer_ids": [topic],
        }
        for topic in TOPICS
    ]
    path = tmp_path / "toy.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


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


def faults(arguments: list[Any], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(list(map(str, arguments)))
    return code, capsys.readouterr().err


def test_an_evaluation_leaves_report_runs_and_pictures(
    tmp_path: Path, lists: Path, model: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["evaluate", str(lists), *model, "--out", str(out), "--documents", "3", "5"]
    command += ["--shuffle", "1", "--plots", "--time", "1"]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert (out / "results.md").read_text() in printed.out
    assert "toy, 3 documents: nDCG@10" in printed.err
    assert sorted(p.name for p in (out / "runs").iterdir()) == [
        "made_by.json",
        *(f"toy.{n}{order}.run" for n in (3, 5) for order in ("", ".shuffled-1")),
    ]
    assert {p.name for p in out.glob("*.png")} == {"measure.png", "latency.png", "calibration.png"}
    content = json.loads((out / "results.json").read_text())
    assert [(r["documents"], r["queries"]) for r in content["sets"]] == [(3, 8), (5, 8)]


def test_a_second_start_takes_the_runs_of_the_first(
    tmp_path: Path, lists: Path, model: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", str(lists), *model, "--out", str(tmp_path / "out")]
    assert main(command) == 0
    run = tmp_path / "out" / "runs" / "toy.all.run"
    lines = [line.split("\t") for line in run.read_text().splitlines()]
    # The answers first, as no ranker of random weights would have it.
    lines.sort(key=lambda line: (line[0], line[0] != line[2]))
    run.write_text("".join(f"{q}\tQ0\t{d}\t1\t{-i}\tx\n" for i, (q, _, d, *_) in enumerate(lines)))
    assert main(command) == 0
    assert "P@1\n" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert content["sets"][0]["measures"]["P@1"]["ours"] == 1.0


def test_a_run_of_another_system_needs_no_model(tmp_path: Path, lists: Path) -> None:
    run = tmp_path / "other.run"
    run.write_text("".join(f"{t} Q0 {t} 1 1.0 x\n" for t in TOPICS[:4]))
    out = tmp_path / "out"
    command = ["evaluate", lists, "--run", run, "--compare", run, "--out", out, "--model", "none"]
    assert main(list(map(str, command))) == 0
    found = json.loads((out / "results.json").read_text())["sets"][0]
    assert found["measures"]["P@1"]["ours"] == 0.5
    assert found["unanswered"] == 4
    assert found["measures"]["P@1"]["against_other"]["difference"] == 0
    assert not (out / "runs").exists()


def test_ids_are_decoded(tmp_path: Path, lists: Path, model: list[str]) -> None:
    out = tmp_path / "out"
    command = ["evaluate", lists, *model, "--by", "decoding", "--limit", "2", "--out", out]
    assert main(list(map(str, command))) == 0
    assert json.loads((out / "results.json").read_text())["ranking"]["by"] == "decoding"


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--run", "x.run", "--shuffle", "1"], "--shuffle needs a model"),
        (["--run", "x.run", "--by", "decoding"], "--by decoding needs a model"),
        (["--run", "x.run"], "x.run: cannot be read"),
        (["--time", "2"], "--time needs --documents"),
        (["--measures", "nDGC@10"], "no measure 'nDGC@10'"),
        (["--sets", "other"], "no set 'other'; there are toy"),
    ],
)
def test_wrong_options_are_one_line_and_2(
    lists: Path, flags: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, error = faults(["evaluate", lists, *flags], capsys)
    assert code == 2
    assert reason in error
    assert error.count("\n") == 1


def test_a_wrong_line_is_named_before_a_model_is_opened(
    tmp_path: Path, card: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"query": "q", "documents": []}\n')
    (tmp_path / "config.json").write_text("{}")  # no model could be opened by it
    model = ["--model", tmp_path, "--card", card]
    for command in (["evaluate", path], ["select-heads", path, "--out", tmp_path / "card.json"]):
        code, error = faults([*command, *model], capsys)
        assert (code, error) == (2, f"error: {path}:1: documents is empty\n")


def test_without_the_extra_the_command_tells_what_to_install(
    lists: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = util.find_spec
    monkeypatch.setattr(
        "blockrank_server.service.cli.extras.find_spec",
        lambda name: None if name == "ir_measures" else find(name),
    )
    code, error = faults(["evaluate", lists], capsys)
    assert code == 2
    assert "ir-measures missing: pip install 'blockrank-server[evaluate]'" in error


def test_a_card_without_numbers_cannot_be_decoded(
    tmp_path: Path, lists: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", lists, "--by", "decoding", "--out", tmp_path / "out"]
    code, error = faults(command, capsys)
    assert code == 1
    assert "no id to decode" in error


@pytest.mark.parametrize("how", [[], ["--greedy"], ["--whole-layers"]])
def test_the_card_of_chosen_heads_opens(
    tmp_path: Path,
    fixtures: Path,
    lists: Path,
    model: list[str],
    how: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "new" / "card.json"
    command = ["select-heads", lists, *model, "--out", out, "--heads", "3", "--layers", "2-5"]
    assert main([*map(str, command), "--name", "mine", *how]) == 0
    found = load_card(out)
    assert found.name == "mine"
    assert all(2 <= point.layer <= 5 for point in found.read)
    if how == ["--whole-layers"]:
        assert [point.heads for point in found.read] == ["all"]
    else:
        num_heads = sum(len(point.heads) for point in found.read)
        assert num_heads == 3 if not how else 1 <= num_heads <= 3
    ranker = Ranker.open(fixtures / "blockrank", card=out, device="cpu")
    assert len(ranker.rank("what is river?", ["All about the river.", "Money."])) == 2
    printed = capsys.readouterr().out
    assert "| the card's own | held out |" in printed


def test_layers_the_model_lacks_are_refused(
    tmp_path: Path, lists: Path, model: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new.json"
    code, error = faults(["select-heads", lists, *model, "--out", out, "--layers", "0-99"], capsys)
    assert code == 2
    assert "--layers ends at 99" in error
    assert not out.exists()
