"""Training lists whose documents are sentences."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from blockrank_server.models.data.source import Source, find_files, read_lists
from blockrank_server.models.training.data_preparation import sentence_lists
from blockrank_server.models.training.data_preparation.sentence_lists import sentences

RISES = "The river rises in the high and snowy mountains."
FLOWS = "It flows past three towns on its long way to the sea."
MONEY = "Banks lend the money that other people have brought them."


def test_a_text_is_its_sentences() -> None:
    assert sentences(f" {RISES}  {FLOWS}\n") == [RISES, FLOWS]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no end at all",
        "Written by J. R. Smith of the U.S. Navy in 1.5 hours.",
        f"{RISES} So it is.",
        f"Yes. {FLOWS}",
    ],
)
def test_a_short_part_stays_with_its_neighbour(text: str) -> None:
    assert sentences(text) == [text]


def test_nothing_of_a_text_is_lost() -> None:
    text = f'{RISES} "{FLOWS}" (See 2.) {MONEY} [4] Why? {RISES}'
    assert " ".join(sentences(text)) == text


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def test_every_sentence_of_an_answer_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passages = [("a", "Rivers", f"{RISES} {FLOWS}"), ("b", "Banks", MONEY)]
    write(
        tmp_path / "toy.passages.jsonl.gz",
        [dict(zip(("doc_id", "title", "text"), row, strict=True)) for row in passages],
    )
    row = {"query_id": "q", "query": "where?", "doc_ids": ["b", "a"], "answer_ids": ["a"]}
    write(tmp_path / "toy.lists.jsonl.gz", [row])
    monkeypatch.setattr("sys.argv", ["sentence_lists.py", str(tmp_path / "toy"), str(tmp_path)])
    sentence_lists.main()
    source = Source(path=str(tmp_path / "toy-sentences"))
    (found,) = read_lists(source, find_files(source, Path()))
    assert found.doc_ids == ("b-0", "a-0", "a-1")
    assert found.titles == ("Banks", "Rivers", "Rivers")
    assert found.texts == (MONEY, RISES, FLOWS)
    assert [bool(x) for x in found.relevance] == [False, True, True]
