"""Files of lists, judgements and scores: every format, and faults by file and line."""

import gzip
import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from blockrank_server.models.data.errors import DataError
from blockrank_server.models.data.judgements import read_qrels, read_teacher
from blockrank_server.models.data.source import Source, find_files, read_lists
from blockrank_server.models.data.training_list import TrainingList
from blockrank_server.models.training import list_table
from blockrank_server.models.training.list_table import open_table


def row(number: int, **changes: Any) -> str:
    fields = {"query": f"q{number}", "documents": ["a", "b"], "answer_ids": [number % 2]}
    return json.dumps(fields | changes) + "\n"


def read(root: Path, **source: Any) -> list[TrainingList]:
    found = Source(**source)
    return list(read_lists(found, find_files(found, root)))


def test_plain_gzip_and_sharded_files_give_the_same_lists(tmp_path: Path) -> None:
    rows = [row(i) for i in range(5)]
    (tmp_path / "all.jsonl").write_text("".join(rows) + "\n")
    with gzip.open(tmp_path / "all.jsonl.gz", "wt") as file:
        file.writelines(rows)
    for i, part in enumerate((rows[:2], rows[2:])):
        with gzip.open(tmp_path / f"part-{i}.jsonl.gz", "wt") as file:
            file.writelines(part)
    expected = ["q0", "q1", "q2", "q3", "q4"]
    for path in ("all.jsonl", "all.jsonl.gz", "part-*.jsonl.gz"):
        assert [x.query for x in read(tmp_path, path=path)] == expected
    shards = read(tmp_path, path="part-*.jsonl.gz")
    assert [x.where.rpartition("/")[2] for x in shards[1:3]] == [
        "part-0.jsonl.gz:2",
        "part-1.jsonl.gz:1",
    ]


def test_files_that_were_put_together_may_hold_byte_order_marks(tmp_path: Path) -> None:
    text = "\ufeff" + row(0) + "\ufeff" + row(1) + "\n\ufeff\n"
    (tmp_path / "all.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / "all.jsonl.gz").write_bytes(b"".join(gzip.compress(x.encode()) for x in text))
    for path in ("all.jsonl", "all.jsonl.gz"):
        assert [x.query for x in read(tmp_path, path=path)] == ["q0", "q1"]


def test_lists_passages_and_qrels_in_files_of_their_own(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "set.passages.jsonl.gz", "wt") as file:
        for doc_id in "abc":
            file.write(json.dumps({"doc_id": doc_id, "title": "T", "text": doc_id * 2}) + "\n")
    with gzip.open(tmp_path / "set.lists.jsonl.gz", "wt") as file:
        for query_id, doc_ids in (("1", ["b", "a"]), ("2", ["c", "a"])):
            fields = {"query_id": query_id, "query": "q", "doc_ids": doc_ids, "answer_ids": ["a"]}
            file.write(json.dumps(fields) + "\n")
    first, second = read(tmp_path, path="set")
    assert first.texts == ("bb", "aa")
    assert first.relevance == second.relevance == (0, 1)
    (tmp_path / "set.qrels.tsv").write_text("query-id\tdoc-id\trelevance\n1\tb\t2\n2\tc\t1\n")
    first, second = read(tmp_path, path="set")
    assert (first.relevance, second.relevance) == ((2, 0), (1, 0))
    with gzip.open(tmp_path / "set.lists.jsonl.gz", "at") as file:
        file.write('{"query": "q", "doc_ids": ["a", "z"], "answer_ids": ["a"]}\n')
    with pytest.raises(DataError, match=r"set\.lists\.jsonl\.gz:3: doc_ids\[1\] is no passage"):
        read(tmp_path, path="set")


def test_every_fault_is_told_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(row(0) + "{\n" + "\n" + row(1, answer_ids=[5]) + "[]\n" + row(2))
    with pytest.raises(DataError) as caught:
        read(tmp_path, path="bad.jsonl")
    assert [fault.removeprefix(f"{tmp_path}/") for fault in caught.value.faults] == [
        "bad.jsonl:2: is no JSON: Expecting property name enclosed in double quotes at character 3",
        "bad.jsonl:4: answer_ids[0] is no document of the list",
        "bad.jsonl:5: is no JSON object",
    ]


def test_a_fault_shows_nothing_of_the_row(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text(row(0, documents=["secret", 3]) + '{"query": "secret" x\n')
    with pytest.raises(DataError) as caught:
        read(tmp_path, path="bad.jsonl")
    assert "secret" not in str(caught.value)


def test_missing_empty_and_broken_files(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "latin.jsonl").write_bytes(row(0).encode() + b'{"query": "\xe9"}\n')
    whole = gzip.compress(row(0).encode() * 1000)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "plain.jsonl.gz").write_text(row(0))
    for path, message in {
        "absent.jsonl": r"absent\.jsonl: no such file",
        "absent": r"absent\.lists\.jsonl\.gz: no such file; .*passages\.jsonl\.gz: no such file",
        "absent-*.jsonl": r"absent-\*\.jsonl: no such file",
        "empty.jsonl": r"empty\.jsonl: is empty",
        "latin.jsonl": r"latin\.jsonl:2: not UTF-8 at byte 11",
        "cut.jsonl.gz": r"cut\.jsonl\.gz: cannot be read after line \d+: .*end-of-stream",
        "plain.jsonl.gz": r"plain\.jsonl\.gz: cannot be read after line 0: Not a gzipped file",
    }.items():
        with pytest.raises(DataError, match=message):
            read(tmp_path, path=path)


def test_judgements_in_both_forms(tmp_path: Path) -> None:
    tsv, trec = tmp_path / "a.tsv", tmp_path / "b.qrels"
    tsv.write_text("query-id\tdoc-id\trelevance\nq 1\td 1\t2\n")
    trec.write_text("q1 0 d1 2\nq1 0 d2 0\n")
    assert read_qrels(tsv) == {"q 1": {"d 1": 2}}
    assert read_qrels(trec) == {"q1": {"d1": 2, "d2": 0}}
    tsv.write_text("q1\td1\t0.5\n")
    trec.write_text("q1 Q0 d1 1 7.5 tag\n")
    assert read_teacher(tsv) == {"q1": {"d1": 0.5}}
    assert read_teacher(trec) == {"q1": {"d1": 7.5}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q\td\t1\nq\td\n", r"x\.tsv:2: expected 3 or 4 columns"),
        ("query-id\td\tr\nq\td\tyes\n", r"x\.tsv:2: no number"),
        ("", r"x\.tsv: holds no judgement"),
    ],
)
def test_faulty_judgements(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_qrels(path)


def test_rows_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(name: str, subset: str | None, *, split: str) -> datasets.Dataset:
        asked.append((name, subset, split))
        if name == "owner/absent":
            raise ConnectionError("no network")
        return datasets.Dataset.from_list([json.loads(row(i)) for i in range(3)])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    source = Source(hub="owner/lists", subset="en", split="dev")
    table = open_table(source, tmp_path, tmp_path)
    assert [x.query for x in table] == ["q0", "q1", "q2"]
    assert table[1].where == "owner/lists[dev]:2"
    assert asked == [("owner/lists", "en", "dev")]
    with pytest.raises(DataError, match="cannot load owner/absent from the hub: no network"):
        read(tmp_path, hub="owner/absent")


def test_a_table_is_read_once_for_files_that_do_not_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = tmp_path / "lists.jsonl", tmp_path / "cache"
    path.write_text(row(0) + row(1))
    source = Source(path="lists.jsonl")
    expected = read(tmp_path, path="lists.jsonl")
    assert list(open_table(source, tmp_path, cache)) == expected
    path.write_text(row(0) + row(1) + row(2))
    assert [x.query for x in open_table(source, tmp_path, cache)] == ["q0", "q1", "q2"]
    monkeypatch.setattr(list_table, "read_lists", None)  # not called for a third time
    assert len(open_table(source, tmp_path, cache)) == 3


def test_lists_with_a_fault_leave_nothing_in_the_cache(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text(row(0) + "[]\n")
    cache = tmp_path / "cache"
    for _ in range(2):
        with pytest.raises(DataError, match=r"bad\.jsonl:2: is no JSON object"):
            open_table(Source(path="bad.jsonl"), tmp_path, cache)
    assert not list(cache.rglob("*.arrow"))


def test_what_the_config_asks_of_every_list(tmp_path: Path) -> None:
    (tmp_path / "lists.jsonl").write_text(
        row(0, teacher_scores=[1, 2]) + row(1) + row(2, answer_ids=[0, 1])
    )
    table = open_table(Source(path="lists.jsonl"), tmp_path, tmp_path)
    table.check(min_relevance=9, needs_answers=False, needs_teacher=False)
    with pytest.raises(DataError, match=r"^\S*lists\.jsonl:2: no teacher_scores.*:3: no teacher"):
        table.check(min_relevance=1, needs_answers=False, needs_teacher=True)
    with pytest.raises(DataError, match=r"^\S*lists\.jsonl:3: every document is an answer"):
        table.check(min_relevance=1, needs_answers=True, needs_teacher=False)
    with pytest.raises(DataError, match=r"lists\.jsonl:1: no document has relevance 2 or more"):
        table.check(min_relevance=2, needs_answers=True, needs_teacher=False)
