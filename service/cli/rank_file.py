"""Ranks the documents of a file, and prints a table or JSON, for the command rerank."""

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import orjson

from blockrank_server.models.score_scale import ScoreScale
from blockrank_server.service.cli.document_lines import DocumentLine, read_lines
from blockrank_server.service.cli.exit_codes import OK
from blockrank_server.service.cli.streams import write_json
from blockrank_server.service.dialects.request import Ranked, rank, text_of
from blockrank_server.service.open_ranker import OpenRanker, open_ranker
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.models.any_ranker import AnyRanker

_MAX_CHARACTERS = 80


def rank_file(
    options: argparse.Namespace, settings: Settings, open_ranker: OpenRanker = open_ranker
) -> int:
    """Rank a file's documents and print them.

    Raises:
        UsageError: the file cannot be read, or holds no document.
        RankerError: the model cannot be opened, or does not take the documents.
    """
    lines = read_lines(options.file, options.format)
    tournament = _Tournament(open_ranker(settings.keeping_nothing()), options.query)
    lines = tournament.finalists(lines)
    ranker = tournament.ranker
    scores, logits = tournament.final(lines)
    ranking = rank(scores, order=logits, top_n=options.top_n)
    if options.json:
        write_json(_as_json(options.query, ranker.card.name, lines, ranking))
    else:
        sys.stdout.writelines(_as_table(lines, ranking))
    if num_cut := len(tournament.cut_lines):
        limit = ranker.card.limits.max_document_tokens
        print(f"note: {num_cut} documents were cut to {limit} tokens", file=sys.stderr)
    return OK


class _Tournament:
    """Ranks what one list may not hold, so that all that is printed was seen together.

    Attributes:
        cut_lines: numbers of the lines that were cut to the card's limit.
    """

    def __init__(self, ranker: "AnyRanker", query: str) -> None:
        self.ranker = ranker
        self.cut_lines: set[int] = set()
        self._query = query

    def final(self, lines: Sequence[DocumentLine]) -> tuple[list[float], list[float] | None]:
        """Return what is shown of each line, and the logits that order them, if there are any."""
        scale = ScoreScale.of(self.ranker.card, self.ranker.max_score)
        raw, level = self._score(lines)
        if scale.calibration is None:
            return scale.numbers(raw, len(raw), level, scale.types[0]), None
        logits = scale.logits(raw, len(raw), level)
        return scale.probabilities(raw, logits), logits

    def _score(self, lines: Sequence[DocumentLine]) -> tuple[list[float], float]:
        """Return raw scores, and the level of the list."""
        encoded = self.ranker.encode(self._query, [line.document for line in lines])
        self.cut_lines.update(lines[index].number for index in encoded.truncated_documents)
        pending = self.ranker.start([encoded])
        return pending.result()[0], pending.levels()[0]

    def finalists(self, lines: list[DocumentLine]) -> list[DocumentLine]:
        """Return all lines if one list may hold them, else each part's best, in the file's order.

        A part takes every n-th line, so that a file already in some order is dealt out evenly.
        """
        limit = self.ranker.card.limits.max_documents
        while 1 < limit < len(lines):
            num_parts = math.ceil(len(lines) / limit)
            num_kept = max(1, limit // num_parts)
            print(
                f"note: {len(lines)} documents, and the card allows {limit} in a list: ranking "
                f"{num_parts} parts, then the best {num_kept} of each in one list",
                file=sys.stderr,
            )
            parts = [lines[start::num_parts] for start in range(num_parts)]
            kept = [line for part in parts for line in self._best(part, num_kept)]
            lines = sorted(kept, key=lambda line: line.number)
        return lines

    def _best(self, lines: Sequence[DocumentLine], num_kept: int) -> list[DocumentLine]:
        scores, _ = self._score(lines)
        best_first = sorted(range(len(lines)), key=scores.__getitem__, reverse=True)  # stable, too
        return [lines[index] for index in best_first[:num_kept]]


def _as_json(
    query: str, model: str, lines: Sequence[DocumentLine], ranking: Sequence[Ranked]
) -> bytes:
    results = []
    for place, ranked in enumerate(ranking, start=1):
        number, document, own_id = lines[ranked.index]
        results.append(
            {
                "rank": place,
                "score": orjson.Fragment(ranked.score),
                "line": number,
                "id": own_id,
                "title": None if isinstance(document, str) else document.get("title"),
                "text": text_of(document),
            }
        )
    body = {"query": query, "model": model, "results": results}
    return orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _as_table(lines: Sequence[DocumentLine], ranking: Sequence[Ranked]) -> Iterable[str]:
    yield f"{'rank':>4}  {'score':>10}  {'line':>6}  text\n"
    for place, ranked in enumerate(ranking, start=1):
        line = lines[ranked.index]
        text = harmless(text_of(line.document))
        yield f"{place:>4}  {float(ranked.score):>10.6f}  {line.number:>6}  {text}\n"


def harmless(text: str) -> str:
    """Return the start of a text on one line, with nothing in it that a terminal would obey."""
    start = " ".join(text[: 4 * _MAX_CHARACTERS].split())
    shown = "".join(character if character.isprintable() else "�" for character in start)
    return shown if len(shown) <= _MAX_CHARACTERS else f"{shown[: _MAX_CHARACTERS - 1]}…"
