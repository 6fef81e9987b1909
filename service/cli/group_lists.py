"""Defines the command group-lists: training lists again, in groups that rank the same documents."""

import argparse
from collections import Counter
from pathlib import Path

from blockrank_server.service.cli.exit_codes import OK, UsageError
from blockrank_server.service.cli.extras import check_installed
from blockrank_server.service.cli.options import check_output, positive
from blockrank_server.service.cli.parser import Command, CommandParser

_EXAMPLES = """examples:
  blockrank-server group-lists data/train/squad data/train/nq --out grouped
  blockrank-server group-lists mine.jsonl --out grouped --lists 32 --documents 48 --held-out 200

Each DATA (FOLDER/NAME or a file, as data.sources.path in models/TRAINING.md) becomes NAME-topics,
whose lists stand in groups that rank the same documents, and NAME-held-out: lists held out, as they
were. Train on groups with data.lists_together. Needs pip install 'blockrank-server[train]'.
exit codes: 0 ok, 2 wrong usage or data"""


def group_lists(options: argparse.Namespace) -> int:
    """Write sets of training lists again as groups that share documents.

    Raises:
        UsageError: the data are at fault, or the extra "train" is not installed.
    """
    check_installed("train")
    from blockrank_server.models.data.errors import DataError  # noqa: PLC0415
    from blockrank_server.models.training.group_lists import (  # noqa: PLC0415
        Grouping,
        set_name,
        write_groups,
    )

    check_output("--out", options.out)
    if doubled := [name for name, n in Counter(map(set_name, options.data)).items() if n > 1]:
        raise UsageError(f"two sets of DATA would be written as {doubled[0]}")
    grouping = Grouping(
        lists_per_group=options.lists,
        max_documents=options.documents,
        max_words=options.words,
        max_document_words=options.document_words,
        max_groups=options.groups,
        held_out_lists=options.held_out,
        held_out_groups=options.held_out_groups,
        seed=options.seed,
    )
    for path in options.data:
        try:
            counts = write_groups(path, options.out, grouping)
        except DataError as error:
            raise UsageError(str(error)) from error
        print(f"{path}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    return OK


def _add_flags(parser: CommandParser) -> None:
    def add_number(flag: str, default: int, text: str) -> None:
        help_text = f"{text} Default: {default}."
        parser.add_argument(flag, metavar="N", type=positive, default=default, help=help_text)

    add = parser.add_argument
    add("data", metavar="DATA", type=Path, nargs="+", help="Sets of training lists.")
    add("--out", metavar="FOLDER", type=Path, required=True, help="Takes the sets written.")
    add_number("--lists", 24, "Lists of a group.")
    add_number("--documents", 64, "Documents of a group.")
    add_number("--words", 3000, "Words of a group's documents.")
    add_number("--document-words", 140, "Words that count of a document: what training keeps.")
    add("--groups", metavar="N", type=positive, help="Groups of each set. Default: all.")
    text = "Lists of each set that are held out. Default: 100."
    add("--held-out", metavar="N", type=int, default=100, help=text)
    text = "Groups of each set that are held out, as NAME-groups-held-out. Default: 0."
    add("--held-out-groups", metavar="N", type=int, default=0, help=text)
    add("--seed", metavar="N", type=int, default=7, help="Decides the order. Default: 7.")


COMMAND = Command(
    "group-lists",
    "Group training lists that can share documents.",
    _EXAMPLES,
    _add_flags,
    group_lists,
)
