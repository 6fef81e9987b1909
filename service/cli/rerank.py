"""Defines the command rerank: its flags, and the file it is given."""

import argparse

from blockrank_server.service.cli.exit_codes import UsageError
from blockrank_server.service.cli.options import (
    MODEL_SETTINGS,
    add_settings,
    check_model,
    check_text,
    positive,
    read_settings,
)
from blockrank_server.service.cli.parser import Command, CommandParser

_EXAMPLES = """examples:
  blockrank-server rerank --query "capital of France" passages.txt
  blockrank-server rerank --query "capital of France" --top-n 3 --json passages.jsonl.gz
  grep -h . notes/*.txt | blockrank-server rerank --query "capital of France" -

FILE holds a document a line: plain text, or JSON (a string, or {"id", "title", "text"}) if its name
ends in .jsonl or .jsonl.gz. Gzip is recognised by its content. Blank lines are skipped; results
name the line, counted from 1. A file of more documents than the card allows is ranked in parts, and
then the best of every part in one last list, which is printed: its scores can be compared.
exit codes: 0 ok, 1 model failure, 2 wrong usage or input"""


def _add_flags(parser: CommandParser) -> None:
    add = parser.add_argument
    add("file", metavar="FILE", nargs="?", default="-", help="The documents; - is standard input.")
    add("--query", required=True, help="What the documents are ranked for.")
    add("--top-n", type=positive, metavar="N", help="Results that are printed. Default: all.")
    add(
        "--format",
        choices=("lines", "jsonl"),
        help="What FILE holds. Default: what its name says.",
    )
    add("--json", action="store_true", help="Print JSON, with ids and titles, instead of a table.")
    add_settings(parser, MODEL_SETTINGS)


def _run(options: argparse.Namespace) -> int:
    if not options.query.strip():
        raise UsageError("--query is empty")
    check_text("--query", options.query)
    settings = read_settings(options)
    check_model(settings)
    # Here and not on top: help is shown without waiting for them.
    from blockrank_server.service.cli.rank_file import rank_file  # noqa: PLC0415

    return rank_file(options, settings)


COMMAND = Command("rerank", "Rank the lines of a file for a query.", _EXAMPLES, _add_flags, _run)
