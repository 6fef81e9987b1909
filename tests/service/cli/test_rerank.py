import argparse
import gzip
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from blockrank_server.models.errors import InputTooLongError
from blockrank_server.service.cli.document_lines import read_lines
from blockrank_server.service.cli.exit_codes import UsageError
from blockrank_server.service.cli.main import main
from blockrank_server.service.cli.rank_file import harmless, rank_file
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.models.ranker import Ranker
    from tests.service.conftest import FakeRanker

LINES = "Berlin in Germany\n\nParis capital of France\r\n   \nof course\n"


def documents(lines: Any) -> list[tuple[int, Any]]:
    return [(line.number, line.document) for line in lines]


def write(folder: Path, name: str, text: str | bytes) -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


@pytest.fixture
def run(
    fake_ranker: "type[FakeRanker]", settings: Settings, capsys: pytest.CaptureFixture[str]
) -> Any:
    def run(file: str, max_documents: int = 1000, **options: Any) -> tuple[str, str]:
        given = {"query": "capital of France", "top_n": None, "format": None, "json": False}
        namespace = argparse.Namespace(file=file, **(given | options))
        ranker = cast("Ranker", fake_ranker(max_documents=max_documents))

        def open_ranker(given: Settings) -> "Ranker":
            assert given.document_cache_bytes == 0
            return ranker

        assert rank_file(namespace, settings, open_ranker=open_ranker) == 0
        read = capsys.readouterr()
        return read.out, read.err

    return run


def test_lines_keep_their_numbers(tmp_path: Path) -> None:
    assert documents(read_lines(write(tmp_path, "a.txt", LINES), None)) == [
        (1, "Berlin in Germany"),
        (3, "Paris capital of France"),
        (5, "of course"),
    ]


def test_only_line_breaks_break_lines(tmp_path: Path) -> None:
    read = read_lines(write(tmp_path, "a.txt", "a\x0cb\x85c\u2028d\ne"), None)
    assert documents(read) == [(1, "a\x0cb\x85c\u2028d"), (2, "e")]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    assert documents(read_lines(write(tmp_path, "a.txt", b"\xef\xbb\xbfa"), None)) == [(1, "a")]


@pytest.mark.parametrize(("name", "kind"), [("a.jsonl", None), ("a.txt", "jsonl")])
def test_jsonl(tmp_path: Path, name: str, kind: str | None) -> None:
    text = '"one"\n\n{"text": "two", "title": "t", "id": 4}\n{"text": "three"}\n{"text": " "}\n'
    expected = [(1, "one"), (3, {"title": "t", "text": "two"}), (4, {"text": "three"})]
    assert documents(read_lines(write(tmp_path, name, text), kind)) == expected
    packed = gzip.compress(text.encode())
    assert documents(read_lines(write(tmp_path, f"{name}.gz", packed), kind)) == expected


def test_an_object_keeps_its_id(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "a"},
        {"_id": 7},
        {"doc_id": "c", "other": "d"},
        {"id": None, "_id": 1},
        {},
    ]
    text = "".join(json.dumps(row | {"text": "t"}) + "\n" for row in rows)
    read = read_lines(write(tmp_path, "a.jsonl", text), None)
    assert [line.id for line in read] == ["a", 7, "c", None, None]


def test_a_jsonl_file_can_be_read_as_lines(tmp_path: Path) -> None:
    assert documents(read_lines(write(tmp_path, "a.jsonl", "{\n"), "lines")) == [(1, "{")]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for raw in (b"a\nb", gzip.compress(b"a\nb")):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw)))
        assert documents(read_lines("-", None)) == [(1, "a"), (2, "b")]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"\n \n", "holds no documents"),
        ("a.txt", b"", "holds no documents"),
        ("a.txt", b"a\xff", "not UTF-8 at byte 1"),
        ("a.jsonl", b'"a"\n{"text":', ":2 is not JSON"),
        ("a.jsonl", b'"a"\n3', ":2 is neither a string nor an object"),
        ("a.jsonl", b'{"text": 3}', ":1.text is not a string"),
        ("a.gz", gzip.compress(b"many words")[:-9], "is gzip, and broken"),
        ("a.gz", b"\x1f\x8b and more", "is gzip, and broken"),
        ("a.gz", gzip.compress(b" "), "holds no documents"),
    ],
)
def test_unusable_files(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_lines(write(tmp_path, name, content), None)
    assert reason in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["missing.txt", "."])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_lines(str(tmp_path / name), None)


def test_the_table_names_rank_score_line_and_text(tmp_path: Path, run: Any) -> None:
    out, err = run(write(tmp_path, "a.txt", LINES))
    rows = [row.split(maxsplit=3) for row in out.splitlines()]
    assert rows[0] == ["rank", "score", "line", "text"]
    assert [(row[0], row[2], row[3]) for row in rows[1:]] == [
        ("1", "3", "Paris capital of France"),
        ("2", "5", "of course"),
        ("3", "1", "Berlin in Germany"),
    ]
    scores = [float(row[1]) for row in rows[1:]]
    assert scores == sorted(scores, reverse=True)
    assert err == ""


def test_top_n(tmp_path: Path, run: Any) -> None:
    out, _ = run(write(tmp_path, "a.txt", LINES), top_n=1)
    assert len(out.splitlines()) == 2


def test_json_is_for_machines(tmp_path: Path, run: Any) -> None:
    out, _ = run(write(tmp_path, "a.txt", LINES), json=True, top_n=2)
    read = json.loads(out)
    assert (read["query"], read["model"]) == ("capital of France", "fake")
    assert [(r["rank"], r["line"], r["text"]) for r in read["results"]] == [
        (1, 3, "Paris capital of France"),
        (2, 5, "of course"),
    ]
    assert all(isinstance(r["score"], float) for r in read["results"])
    assert {(r["id"], r["title"]) for r in read["results"]} == {(None, None)}


def test_json_tells_id_and_title(tmp_path: Path, run: Any) -> None:
    rows: list[dict[str, Any]] = [{"_id": "d1", "title": "Bread"}, {"id": 2, "title": "France"}, {}]
    text = "".join(json.dumps(row | {"text": "capital"}) + "\n" for row in rows)
    out, _ = run(write(tmp_path, "a.jsonl.gz", gzip.compress(text.encode())), json=True)
    found = [(r["id"], r["title"], r["text"]) for r in json.loads(out)["results"]]
    assert found == [(2, "France", "capital"), ("d1", "Bread", "capital"), (None, None, "capital")]


@pytest.mark.parametrize("max_documents", [2, 3, 5, 6, 7])
def test_a_long_file_is_ranked_in_parts_and_then_the_best_of_each(
    max_documents: int, tmp_path: Path, run: Any
) -> None:
    """The best line is found wherever it stands, and what is printed is one list."""
    query = "a b c d"
    words = ["x", "a", "a b", "x", "a b c", "x", "a", "a b", "x", "x", "a b c d"]
    for turn in range(len(words)):
        lines = words[turn:] + words[:turn]
        file = write(tmp_path, "a.txt", "\n".join(lines))
        out, err = run(file, max_documents=max_documents, json=True, query=query)
        results = json.loads(out)["results"]
        assert results[0]["text"] == "a b c d"
        assert all(lines[r["line"] - 1] == r["text"] for r in results)
        assert len({r["line"] for r in results}) == len(results) <= max_documents
        assert sum(r["score"] for r in results) == pytest.approx(1)
        assert err.startswith(f"note: 11 documents, and the card allows {max_documents} in a list")


def test_parts_take_turns_with_the_lines(tmp_path: Path, run: Any) -> None:
    """As in a file that a search has ordered: the first lines are the best."""
    lines = ["a b c d", "a b c", "a b", "a", "x", "x", "x", "x"]
    file = write(tmp_path, "a.txt", "\n".join(lines))
    out, err = run(file, max_documents=4, json=True, query="a b c d")
    assert [r["line"] for r in json.loads(out)["results"]] == [1, 2, 3, 4]
    assert err.endswith("ranking 2 parts, then the best 2 of each in one list\n")


def test_cut_lines_are_counted_once(tmp_path: Path, run: Any) -> None:
    file = write(tmp_path, "a.txt", "\n".join(["a " * 60] * 3))
    _, err = run(file, max_documents=2)
    assert err.endswith("note: 3 documents were cut to 50 tokens\n")


def test_a_card_of_one_document_has_no_list_to_rank(tmp_path: Path, run: Any) -> None:
    with pytest.raises(InputTooLongError):
        run(write(tmp_path, "a.txt", "a\nb"), max_documents=1)


def test_what_was_cut_is_told(tmp_path: Path, run: Any) -> None:
    _, err = run(write(tmp_path, "a.txt", "word " * 60 + "\nb"))
    assert err == "note: 1 documents were cut to 50 tokens\n"


def test_an_empty_query_is_refused_before_the_model_is_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rerank", "--query", " ", write(tmp_path, "a", "b"), "--model", "/no/where"]) == 2
    assert capsys.readouterr().err == "error: --query is empty\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc", "a b c"),
        ("\x1b[31mred\x07", "�[31mred�"),
        ("\u202eabc\u200b", "�abc�"),
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 79 + "…"),
        ("Zoë 東京", "Zoë 東京"),
    ],
)
def test_harmless(text: str, shown: str) -> None:
    assert harmless(text) == shown
