"""Sets of groups on disk, read again as training reads them."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from blockrank_server.models.data.errors import DataError
from blockrank_server.models.data.source import Source, find_files, read_lists
from blockrank_server.models.data.training_list import TrainingList
from blockrank_server.models.training.group_lists import Grouping, write_groups
from blockrank_server.service.cli.main import main

GROUPING = Grouping(
    lists_per_group=3,
    max_documents=4,
    max_words=100,
    max_document_words=5,
    max_groups=None,
    held_out_lists=2,
    held_out_groups=0,
    seed=7,
)


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Eleven lists of the documents 0 to 5; list i asks for document i % 6."""
    rows = [
        {
            "query_id": f"q{i}",
            "query": f"number {i}?",
            "documents": [{"doc_id": f"d{j}", "title": "", "text": f"text {j}"} for j in range(6)],
            "answer_ids": [f"d{i % 6}"],
        }
        for i in range(11)
    ]
    path = tmp_path / "numbers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(folder: Path, name: str) -> list[TrainingList]:
    source = Source(path=name)
    return list(read_lists(source, find_files(source, folder)))


def test_groups_rank_the_same_documents_and_keep_their_answers(lists: Path, tmp_path: Path) -> None:
    counts = write_groups(lists, tmp_path / "out", GROUPING)
    grouped = read(tmp_path / "out", "numbers-topics")
    assert counts == {"groups": 3, "lists": 9, "documents": 6, "held_out": 2}
    for start in range(0, 9, 3):
        assert len({found.doc_ids for found in grouped[start : start + 3]}) == 1
    for found in grouped:
        answers = [i for i, r in zip(found.doc_ids, found.relevance, strict=True) if r]
        assert answers == [f"d{int(found.query_id[1:]) % 6}"]
        assert found.texts[0] == f"text {found.doc_ids[0][1:]}"


def test_lists_held_out_are_in_no_group(lists: Path, tmp_path: Path) -> None:
    write_groups(lists, tmp_path / "out", GROUPING)
    held_out = read(tmp_path / "out", "numbers-held-out")
    grouped = read(tmp_path / "out", "numbers-topics")
    assert [found.doc_ids for found in held_out] == [tuple(f"d{i}" for i in range(6))] * 2
    assert not {x.query_id for x in held_out} & {x.query_id for x in grouped}


def test_groups_held_out_are_the_last_ones(lists: Path, tmp_path: Path) -> None:
    write_groups(lists, tmp_path / "all", GROUPING)
    counts = write_groups(lists, tmp_path / "out", replace(GROUPING, held_out_groups=1))
    assert counts == {"groups": 2, "lists": 6, "documents": 4, "held_out": 2}
    trained, apart = (read(tmp_path / "out", f"numbers-{x}") for x in ("topics", "groups-held-out"))
    whole = read(tmp_path / "all", "numbers-topics")
    assert [(x.query_id, x.doc_ids) for x in [*trained, *apart]] == [
        (x.query_id, x.doc_ids) for x in whole
    ]


def test_no_group_is_left_to_train_on(lists: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="all of its 3 groups"):
        write_groups(lists, tmp_path / "out", replace(GROUPING, held_out_groups=3))


def test_the_same_lists_give_the_same_bytes(lists: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_groups(lists, tmp_path / name, GROUPING)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 6
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_lists_without_ids_of_their_own_are_refused(tmp_path: Path) -> None:
    rows = [{"query": "x", "documents": [t, "other"], "answer_ids": [0]} for t in ("one", "two")]
    path = tmp_path / "bare.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    with pytest.raises(DataError, match=r"bare.jsonl.gz:2: doc_id '0' has another text"):
        write_groups(path, tmp_path / "out", GROUPING)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer_ids": None}, "numbers.jsonl:3: no document of the list is an answer"),
        ({}, "numbers.jsonl:3: teacher_scores are of other documents than the group's"),
    ],
    ids=["no answer", "teacher scores"],
)
def test_lists_whose_knowledge_would_be_lost_are_refused(
    change: dict[str, None], message: str, lists: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in lists.read_text().splitlines()]
    rows[2] |= {"teacher_scores": [0.5] * 6} | change
    lists.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=message):
        write_groups(lists, tmp_path / "out", GROUPING)


def test_the_command_groups(
    lists: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    flags = ["--lists", "4", "--held-out", "1", "--groups", "1", "--out", str(out)]
    assert main(["group-lists", str(lists), *flags]) == 0
    assert capsys.readouterr().out == f"{lists}: 1 groups, 4 lists, 6 documents, 1 held_out\n"
    assert len(read(out, "numbers-topics")) == 4


def test_the_command_says_what_is_wrong(
    lists: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["group-lists", str(lists), "--lists", "50", "--out", str(tmp_path / "out")]) == 2
    assert "are less than one group" in capsys.readouterr().err
