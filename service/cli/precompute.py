"""Defines the command precompute: documents of a file are computed into a document store."""

import argparse

from blockrank_server.service.cli.exit_codes import UsageError
from blockrank_server.service.cli.options import (
    MODEL_SETTINGS,
    add_settings,
    check_model,
    positive,
    read_settings,
)
from blockrank_server.service.cli.parser import Command, CommandParser

_SETTINGS = ("document_store", "document_store_bytes", "document_cache_bytes", "max_batch_tokens")

_EXAMPLES = """examples:
  blockrank-server precompute --document-store /var/lib/documents corpus.jsonl.gz
  blockrank-server precompute --document-store /var/lib/documents --dtype bfloat16 passages.txt

FILE holds a document a line: plain text, or JSON (a string, or {"title", "text"}) if its name ends
in .jsonl or .jsonl.gz. A server finds what was computed if it has the same store, model, card,
adapter, dtype, quantization and kind of device, and is asked with the same max_tokens_per_doc and
no cache_salt. Started again, it goes on where it stopped: what the store holds is left out.
exit codes: 0 ok, 1 model or disk failure, 2 wrong usage or input"""


def _add_flags(parser: CommandParser) -> None:
    add = parser.add_argument
    add("file", metavar="FILE", nargs="?", default="-", help="The documents; - is standard input.")
    add(
        "--format",
        choices=("lines", "jsonl"),
        help="What FILE holds. Default: what its name says.",
    )
    add(
        "--max-tokens-per-doc",
        type=positive,
        metavar="N",
        help="Documents are cut at so many tokens. Default: the card's limit.",
    )
    add_settings(parser, (*MODEL_SETTINGS, *_SETTINGS))


def _run(options: argparse.Namespace) -> int:
    settings = read_settings(options)
    if settings.document_store is None:
        raise UsageError("--document-store is missing: the folder that takes the documents")
    if settings.document_cache_bytes == 0:
        settings = settings.model_copy(update={"document_cache_bytes": "auto"})
    check_model(settings)
    # Here and not on top: help is shown without waiting for them.
    from blockrank_server.service.cli.precompute_file import precompute_file  # noqa: PLC0415

    return precompute_file(options, settings)


COMMAND = Command(
    "precompute", "Compute documents before they are asked for.", _EXAMPLES, _add_flags, _run
)
