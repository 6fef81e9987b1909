"""Flags and examples of the commands train and group-lists."""

import argparse
from pathlib import Path

from blockrank_server.service.cli.options import positive

TRAIN_EXAMPLES = """examples:
  blockrank-server train my.yaml
  blockrank-server train my.yaml --set output=runs/2 --set loss.temperature=0.1
  blockrank-server train my.yaml --resume
  accelerate launch --multi_gpu -m blockrank_server.service train my.yaml

models/TRAINING.md lists the keys of the config. Needs pip install 'blockrank-server[train]'.
exit codes: 0 ok, 1 model or training failure, 2 wrong usage, config or data"""

GROUP_EXAMPLES = """examples:
  blockrank-server group-lists data/train/squad data/train/nq --out grouped
  blockrank-server group-lists mine.jsonl --out grouped --lists 32 --documents 48 --held-out 200

Each DATA (FOLDER/NAME or a file, as data.sources.path in models/TRAINING.md) becomes NAME-topics,
whose lists stand in groups that rank the same documents, and NAME-held-out: lists held out, as they
were. Train on groups with data.lists_together. Needs pip install 'blockrank-server[train]'.
exit codes: 0 ok, 2 wrong usage or data"""


def add_train_flags(parser: argparse.ArgumentParser) -> None:
    """Of train."""
    parser.add_argument("config", metavar="CONFIG", type=Path, help="YAML file")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        dest="assignments",
        action="append",
        default=[],
        help="a key of the config, such as loss.temperature=0.1; may be repeated",
    )
    parser.add_argument(
        "--resume",
        metavar="CHECKPOINT",
        nargs="?",
        const="",
        help="go on from a checkpoint of this run; the latest if none is named",
    )


def add_group_flags(parser: argparse.ArgumentParser) -> None:
    """Of group-lists."""
    add = parser.add_argument
    add("data", metavar="DATA", type=Path, nargs="+", help="sets of training lists")
    add("--out", metavar="FOLDER", type=Path, required=True, help="of the sets written")
    add("--lists", metavar="N", type=positive, default=24, help="of a group (24)")
    add("--documents", metavar="N", type=positive, default=64, help="of a group (64)")
    add("--words", metavar="N", type=positive, default=3000, help="of a group's documents (3000)")
    add(
        "--document-words",
        metavar="N",
        type=positive,
        default=140,
        help="counted of a document, about what training cuts it to (140)",
    )
    add("--groups", metavar="N", type=positive, help="of each set (all)")
    add("--held-out", metavar="N", type=int, default=100, help="lists of each set (100)")
    add("--seed", metavar="N", type=int, default=7, help="of the order (7)")
