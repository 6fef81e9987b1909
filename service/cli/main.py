"""The command blockrank-server: serve, rerank, info, group-lists, train, evaluate and
select-heads."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from blockrank_server.models.errors import InputError, RankerError
from blockrank_server.service.cli.evaluate_flags import (
    EVALUATE_EXAMPLES,
    SELECT_EXAMPLES,
    add_evaluate_flags,
    add_select_flags,
)
from blockrank_server.service.cli.options import (
    FAILURE,
    INTERRUPTED,
    OK,
    USAGE,
    UsageError,
    add_model_flags,
    positive,
    read_settings,
)
from blockrank_server.service.cli.train_flags import (
    GROUP_EXAMPLES,
    TRAIN_EXAMPLES,
    add_group_flags,
    add_train_flags,
)

_SERVE_EXAMPLES = """examples:
  blockrank-server serve
  blockrank-server serve --model ./checkpoint --port 9000
  BLOCKRANK_MAX_BATCH_TOKENS=32768 blockrank-server serve --model MindscapeRAG/QRRanker

Every setting can be given as BLOCKRANK_<NAME>; a flag wins over its variable.
blockrank-server info lists the settings in force.
exit codes: 0 ended by a signal, 1 model or port failure, 2 wrong flag or setting"""

_RERANK_EXAMPLES = """examples:
  blockrank-server rerank --query "capital of France" passages.txt
  blockrank-server rerank --query "capital of France" --top-n 3 --json passages.jsonl
  grep -h . notes/*.txt | blockrank-server rerank --query "capital of France" -

FILE holds a document a line: plain text, or JSON (a string, or {"title", "text"}) if its name ends
in .jsonl. Blank lines are skipped; results name the line, counted from 1.
exit codes: 0 ok, 1 model failure, 2 wrong usage or input"""

_INFO_EXAMPLES = """examples:
  blockrank-server info
  blockrank-server info --model ./checkpoint --load

Reads the settings and, where it is at hand, the card; --load opens the model too.
exit codes: 0 ok, 1 card or model failure, 2 wrong flag or setting"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: without the program's name; None takes those of the process.

    Returns:
        Exit code: 0 ok, 1 model or runtime failure, 2 wrong usage or input.
    """
    options = _parser().parse_args(arguments)
    try:
        command: Callable[[argparse.Namespace], int] = options.command
        code = command(options)
        sys.stdout.flush()
        return code
    except (UsageError, InputError) as error:
        return _fail(USAGE, str(error))
    except RankerError as error:
        return _fail(FAILURE, str(error))
    except BrokenPipeError:
        # The reader (head, say) has enough. Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED


def _fail(code: int, message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, where argparse prints the usage first."""
        self.exit(USAGE, f"error: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="blockrank-server", description="Listwise reranking with one prefill of an LLM."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def add(name: str, command: Callable[..., int], text: str, epilog: str) -> _Parser:
        added = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(command=command)
        return added

    serve = add("serve", _serve, "Answer POST /rerank over HTTP.", _SERVE_EXAMPLES)
    add_model_flags(serve)
    serve.add_argument("--host", help="address to listen on (127.0.0.1)")
    serve.add_argument("--port", type=int, help="port to listen on; 0 picks a free one (8000)")
    rerank = add("rerank", _rerank, "Rank the lines of a file for a query.", _RERANK_EXAMPLES)
    add_model_flags(rerank)
    rerank.add_argument("file", metavar="FILE", nargs="?", default="-", help="- is standard input")
    rerank.add_argument("--query", required=True, help="what the documents are ranked for")
    rerank.add_argument("--top-n", type=positive, metavar="N", help="results to print (all)")
    rerank.add_argument("--format", choices=("lines", "jsonl"), help="instead of by FILE's name")
    rerank.add_argument("--json", action="store_true", help="print JSON instead of a table")
    info = add("info", _info, "Print settings, card and model as JSON.", _INFO_EXAMPLES)
    add_model_flags(info)
    info.add_argument("--load", action="store_true", help="open the model, to tell how it runs")
    text = "Group training lists that can share documents."
    add_group_flags(add("group-lists", _group_lists, text, GROUP_EXAMPLES))
    text = "Train a ranker on lists with known answers."
    add_train_flags(add("train", _train, text, TRAIN_EXAMPLES))
    text = "Measure how well lists with judgements are ranked."
    add_evaluate_flags(add("evaluate", _evaluate, text, EVALUATE_EXAMPLES))
    text = "Choose the attention heads that a card reads."
    add_select_flags(add("select-heads", _select_heads, text, SELECT_EXAMPLES))
    return parser


def _serve(options: argparse.Namespace) -> int:
    from blockrank_server.service.api.server import serve  # noqa: PLC0415

    return serve(read_settings(options))


def _rerank(options: argparse.Namespace) -> int:
    from blockrank_server.service.cli.rerank import rerank_file  # noqa: PLC0415

    return rerank_file(options, read_settings(options))


def _info(options: argparse.Namespace) -> int:
    from blockrank_server.service.cli.info import print_info  # noqa: PLC0415

    return print_info(read_settings(options), is_loading=options.load)


def _group_lists(options: argparse.Namespace) -> int:
    from blockrank_server.service.cli.train import group_lists  # noqa: PLC0415

    return group_lists(options)


def _train(options: argparse.Namespace) -> int:
    from blockrank_server.service.cli.train import run_training  # noqa: PLC0415

    return run_training(options)


def _evaluate(options: argparse.Namespace) -> int:
    from blockrank_server.service.cli.evaluate import run_evaluation  # noqa: PLC0415

    return run_evaluation(options, read_settings(options))


def _select_heads(options: argparse.Namespace) -> int:
    from blockrank_server.service.cli.select_heads import select_heads  # noqa: PLC0415

    return select_heads(options, read_settings(options))
