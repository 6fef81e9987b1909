"""The command rerank: documents from a file, a ranked table or JSON to standard output."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import orjson

from blockrank_server.models.prompt.request import Document
from blockrank_server.service.cli.options import OK, UsageError
from blockrank_server.service.dialects.documents import as_document
from blockrank_server.service.dialects.request import Ranked, is_blank, rank, text_of
from blockrank_server.service.errors import InvalidFieldError
from blockrank_server.service.open_ranker import OpenRanker, open_ranker
from blockrank_server.service.settings import Settings

_MAX_CHARACTERS = 80


class Line(NamedTuple):
    """A document and the line it stands on, counted from 1."""

    number: int
    document: Document


def rerank_file(
    options: argparse.Namespace, settings: Settings, open_ranker: OpenRanker = open_ranker
) -> int:
    """Rank a file's documents and print them.

    Raises:
        UsageError: the file cannot be read, or holds no document.
        RankerError: the model cannot be opened, or does not take the documents.
    """
    if not options.query.strip():
        raise UsageError("--query is empty")
    lines = read_lines(options.file, options.format)
    ranker = open_ranker(settings)
    encoded = ranker.encode(options.query, [line.document for line in lines])
    scores = ranker.score([encoded])[0]
    ranking = rank(scores, max_score=ranker.max_score, top_n=options.top_n)
    if options.json:
        sys.stdout.write(_as_json(options.query, ranker.card.name, lines, ranking))
    else:
        sys.stdout.writelines(_as_table(lines, ranking))
    if cut := encoded.truncated_documents:
        limit = ranker.card.limits.max_document_tokens
        print(f"note: {len(cut)} documents were cut to {limit} tokens", file=sys.stderr)
    return OK


def read_lines(file: str, kind: str | None) -> list[Line]:
    """The documents of a file, blank lines and blank documents left out.

    Args:
        file: path, or - for standard input.
        kind: lines or jsonl; None decides by the file's name.

    Raises:
        UsageError: it cannot be read, a line is not a document, or there is none.
    """
    name = "standard input" if file == "-" else file
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8 at byte {error.start}") from error
    # Not splitlines: it also splits at form feeds and the like, which no editor counts as lines.
    numbered = list(enumerate(text.replace("\r\n", "\n").split("\n"), start=1))
    is_json = kind == "jsonl" or (kind is None and file.endswith(".jsonl"))
    documents = _documents(numbered, name) if is_json else [Line(*line) for line in numbered]
    found = [line for line in documents if not is_blank(line.document)]
    if not found:
        raise UsageError(f"{name} holds no documents")
    return found


def _documents(numbered: Iterable[tuple[int, str]], name: str) -> list[Line]:
    found = []
    for number, text in numbered:
        if not text.strip():
            continue
        try:
            found.append(Line(number, as_document(orjson.loads(text), f"{name}:{number}")))
        except orjson.JSONDecodeError as error:
            raise UsageError(f"{name}:{number} is not JSON: {error}") from error
        except InvalidFieldError as error:
            raise UsageError(str(error)) from error
    return found


def _as_json(query: str, model: str, lines: list[Line], ranking: list[Ranked]) -> str:
    results = [
        {
            "rank": place,
            "score": orjson.Fragment(ranked.score),
            "line": lines[ranked.index].number,
            "text": text_of(lines[ranked.index].document),
        }
        for place, ranked in enumerate(ranking, start=1)
    ]
    body = {"query": query, "model": model, "results": results}
    return orjson.dumps(body, option=orjson.OPT_INDENT_2).decode() + "\n"


def _as_table(lines: list[Line], ranking: list[Ranked]) -> Iterable[str]:
    yield f"{'rank':>4}  {'score':>10}  {'line':>6}  text\n"
    for place, ranked in enumerate(ranking, start=1):
        line = lines[ranked.index]
        text = harmless(text_of(line.document))
        yield f"{place:>4}  {float(ranked.score):>10.6f}  {line.number:>6}  {text}\n"


def harmless(text: str) -> str:
    """The start of a text on one line, with nothing in it that a terminal would obey."""
    start = " ".join(text[: 4 * _MAX_CHARACTERS].split())
    shown = "".join(character if character.isprintable() else "�" for character in start)
    return shown if len(shown) <= _MAX_CHARACTERS else f"{shown[: _MAX_CHARACTERS - 1]}…"
