"""Defines the command blockrank-server: which commands there are, and how each ends.

Little is imported on top, so that an interrupt finds exit_code in place from the start.
"""

import os
import signal
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from blockrank_server.service.cli.exit_codes import INTERRUPTED, UsageError
from blockrank_server.service.cli.streams import prepare_streams, release_output

if TYPE_CHECKING:
    import argparse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: do not hold the program's name; None takes those of the process.

    Returns:
        Exit code: 0 ok, 1 model or runtime failure, 2 wrong usage or input, 130 interrupted.
    """

    def run() -> int:
        options = parse(arguments)
        _check_folder()
        code: int = options.command(options)
        return code

    try:
        return exit_code(run)
    finally:
        if arguments is None:  # the process ends now, and an interrupt has nothing to tell any more
            signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))


def parse(arguments: Sequence[str] | None = None) -> "argparse.Namespace":
    """Return the flags of a command by name, and the command itself as `command`.

    Raises:
        SystemExit: help or version was asked for, or a flag is wrong.
    """
    from importlib.metadata import version  # noqa: PLC0415

    from blockrank_server.service.cli import (  # noqa: PLC0415
        calibrate,
        evaluate,
        group_lists,
        info,
        precompute,
        rerank,
        select_heads,
        serve,
        train,
        verify,
    )
    from blockrank_server.service.cli.parser import CommandParser  # noqa: PLC0415

    parser = CommandParser(
        prog="blockrank-server", description="Listwise reranking with one prefill of an LLM."
    )
    text = f"blockrank-server {version('blockrank-server')}"
    parser.add_argument("--version", action="version", version=text)
    modules = (
        *(serve, rerank, info, precompute, group_lists, train, evaluate, select_heads, calibrate),
        verify,
    )
    parser.add_commands(module.COMMAND for module in modules)
    return parser.parse_args(arguments)


def exit_code(run: Callable[[], int]) -> int:
    """Run, and turn what it raises into one line on standard error and an exit code.

    An error that nobody foresaw keeps its traceback, above the line.
    """
    try:
        return _run_and_explain(run)
    except KeyboardInterrupt:  # it may come while an error is explained, too
        return INTERRUPTED
    finally:
        release_output()


def _run_and_explain(run: Callable[[], int]) -> int:
    try:
        prepare_streams()
        try:
            code = run()
        except SystemExit:  # argparse has shown help, or told of a wrong flag
            if (refused := release_output()) is not None:
                raise refused from None
            raise
        if (refused := release_output()) is not None:
            raise refused
        return code
    except Exception as error:
        from blockrank_server.service.cli.failure import explain  # noqa: PLC0415

        # A file that is full has no name in the error; standard output fails again.
        refused = release_output()
        return explain(refused if refused and isinstance(error, OSError) else error)


def _check_folder() -> None:
    """Refuse a working folder that was deleted: libraries of torch cannot be loaded in it."""
    try:
        os.getcwd()
    except OSError as error:
        raise UsageError("the current folder was deleted; change to another one") from error
