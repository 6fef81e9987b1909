import argparse
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from blockrank_server.service.cli.options import UsageError
from blockrank_server.service.cli.rerank import harmless, read_lines, rerank_file
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
    def run(file: str, **options: Any) -> tuple[str, str]:
        given = {"query": "capital of France", "top_n": None, "format": None, "json": False}
        namespace = argparse.Namespace(file=file, **(given | options))
        ranker = cast("Ranker", fake_ranker())
        assert rerank_file(namespace, settings, open_ranker=lambda _: ranker) == 0
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
    assert documents(read_lines(write(tmp_path, name, text), kind)) == [
        (1, "one"),
        (3, {"title": "t", "text": "two"}),
        (4, {"text": "three"}),
    ]


def test_a_jsonl_file_can_be_read_as_lines(tmp_path: Path) -> None:
    assert documents(read_lines(write(tmp_path, "a.jsonl", "{\n"), "lines")) == [(1, "{")]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\nb")))
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


def test_what_was_cut_is_told(tmp_path: Path, run: Any) -> None:
    _, err = run(write(tmp_path, "a.txt", "word " * 60 + "\nb"))
    assert err == "note: 1 documents were cut to 50 tokens\n"


def test_an_empty_query_is_refused_before_the_model_is_opened(
    tmp_path: Path, settings: Settings
) -> None:
    options = argparse.Namespace(file=write(tmp_path, "a", "b"), query=" ", format=None)
    with pytest.raises(UsageError, match="--query is empty"):
        rerank_file(options, settings, open_ranker=lambda _: pytest.fail("opened"))


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
