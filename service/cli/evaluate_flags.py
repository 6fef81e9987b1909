"""Flags and examples of the commands evaluate and select-heads."""

import argparse
from pathlib import Path

from blockrank_server.service.cli.options import add_model_flags, positive

EVALUATE_EXAMPLES = """examples:
  blockrank-server evaluate data/eval --documents 20
  blockrank-server evaluate data/eval --card runs/mine/rerank_card.json --documents 20 100
  blockrank-server evaluate my.jsonl --compare other.run
  blockrank-server evaluate data/eval --run runs-of-bm25
  blockrank-server evaluate my.jsonl --model ./checkpoint --by decoding --limit 50

DATA is a folder of sets, FOLDER/NAME of one (NAME.lists.jsonl.gz, NAME.passages.jsonl.gz,
NAME.qrels.tsv), or a file of BlockRank's form (.jsonl, .jsonl.gz; its qrels as NAME.qrels.tsv).
OUT takes results.md, results.json and the TREC runs; started again, it goes on where it stopped.
models/EVALUATION.md tells what is measured. Needs pip install 'blockrank-server[evaluate]'.
exit codes: 0 ok, 1 model failure, 2 wrong usage or data"""

SELECT_EXAMPLES = """examples:
  blockrank-server select-heads data/train --out rerank_card.json
  blockrank-server select-heads data/train --model ./checkpoint --layers 8-20 --out my.json
  blockrank-server select-heads data/train --whole-layers --out card.json
  blockrank-server select-heads data/train --greedy --lists 100 --out card.json

Measures every head on lists with known answers, half to choose on and half to report on, and writes
the card with the best in place of its own. Never give it lists you evaluate on.
exit codes: 0 ok, 1 model failure, 2 wrong usage or data"""


def add_evaluate_flags(parser: argparse.ArgumentParser) -> None:
    """Of evaluate."""
    add_model_flags(parser)
    _add_data_flags(parser)
    add = parser.add_argument
    add("--out", metavar="FOLDER", type=Path, default=Path("evaluation"), help="(evaluation)")
    add("--documents", metavar="N", type=positive, nargs="+", help="of a list, a row each (all)")
    add("--limit", metavar="N", type=positive, help="queries of each set (all)")
    add("--by", choices=("attention", "decoding"), default="attention", help="(attention)")
    add("--shuffle", metavar="SEED", type=int, help="rank shuffled lists too, and compare")
    add("--run", metavar="PATH", type=Path, help="judge this TREC run, or folder of NAME.run")
    add(
        "--compare", metavar="PATH", type=Path, help="a run, or folder of NAME.run, to compare with"
    )
    add("--write-run", metavar="FOLDER", type=Path, help="for our TREC runs (OUT/runs)")
    add("--measures", metavar="M", nargs="+", help="of ir_measures (nDCG@10 RR@10 P@1 R@10)")
    add("--min-relevance", metavar="N", type=positive, default=1, help="judged relevant from (1)")
    add("--plots", action="store_true", help="write pictures into OUT")
    add("--time", metavar="N", type=positive, help="time so many single requests a row's documents")
    add("--batch-tokens", metavar="N", type=positive, help="of one forward pass (100000)")


def add_select_flags(parser: argparse.ArgumentParser) -> None:
    """Of select-heads."""
    add_model_flags(parser)
    _add_data_flags(parser)
    add = parser.add_argument
    add("--out", metavar="FILE", type=Path, required=True, help="the card to write")
    add("--name", help="of the new card (the old one's)")
    add("--lists", metavar="N", type=positive, default=64, help="of each set (64)")
    add("--documents", metavar="N", type=positive, default=16, help="of each list (16)")
    add("--heads", metavar="N", type=positive, default=8, help="at most (8)")
    add("--layers", metavar="FIRST-LAST", type=_layers, help="to choose from, from 0 (all)")
    add("--temperature", type=float, default=0.1, help="of the contrastive score (0.1)")
    add("--seed", type=int, default=7, help="of the lists drawn (7)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--greedy", action="store_true", help="add heads while the sum of them gains")
    how.add_argument("--whole-layers", action="store_true", help="one layer with all its heads")


def _add_data_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", type=Path, nargs="+", help="sets of lists")
    parser.add_argument("--sets", metavar="NAME", nargs="+", help="some of them (all)")


def _layers(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not (first.isdigit() and last.isdigit() and int(first) <= int(last)):
        raise argparse.ArgumentTypeError(f"{text!r} is not FIRST-LAST, such as 8-20")
    return int(first), int(last)
