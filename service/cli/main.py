"""The command blockrank-server: which commands there are, and how each ends."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version

from blockrank_server.models.errors import InputError, RankerError
from blockrank_server.service.cli import (
    evaluate,
    group_lists,
    info,
    rerank,
    select_heads,
    serve,
    train,
)
from blockrank_server.service.cli.exit_codes import FAILURE, INTERRUPTED, OK, USAGE, UsageError
from blockrank_server.service.cli.parser import CommandParser
from blockrank_server.service.middleware.api_keys import ApiKeysError

_COMMANDS = (serve, rerank, info, group_lists, train, evaluate, select_heads)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: do not hold the program's name; None takes those of the process.

    Returns:
        Exit code: 0 ok, 1 model or runtime failure, 2 wrong usage or input.
    """
    options = parse(arguments)
    return exit_code(partial(options.command, options))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags of a command by name, and the command itself as `command`.

    Raises:
        SystemExit: help or version was asked for, or a flag is wrong.
    """
    parser = CommandParser(
        prog="blockrank-server", description="Listwise reranking with one prefill of an LLM."
    )
    text = f"blockrank-server {version('blockrank-server')}"
    parser.add_argument("--version", action="version", version=text)
    parser.add_commands(module.COMMAND for module in _COMMANDS)
    return parser.parse_args(arguments)


def exit_code(run: Callable[[], int]) -> int:
    """Run, and turn what it raises into one line on standard error and an exit code."""
    try:
        code = run()
        sys.stdout.flush()
        return code
    except (UsageError, InputError, ApiKeysError) as error:
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
