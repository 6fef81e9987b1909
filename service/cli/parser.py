"""Adapts argparse: its errors are one line that names the nearest flag or command."""

import argparse
import difflib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, NoReturn

from blockrank_server.service.cli.exit_codes import USAGE


class CommandParser(argparse.ArgumentParser):
    """Parses the flags of one command, or of the program when commands were added to it.

    Flags are written out: an abbreviation would mean something else once a flag is added.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options
        )
        self._refused: dict[str, str] = {}
        self._commands: Iterable[str] = ()

    def refuse(self, flag: str, reason: str) -> None:
        """Answer a flag that does not exist with this reason; its value is never shown."""
        self._refused[flag] = reason

    def add_commands(self, commands: "Iterable[Command]") -> None:
        """Parse the first word as the name of a command, and the rest by its flags."""
        added = self.add_subparsers(required=True, metavar="COMMAND", parser_class=CommandParser)
        for each in commands:
            parser = added.add_parser(
                each.name, help=each.summary, description=each.summary, epilog=each.examples
            )
            each.add_flags(parser)
            parser.set_defaults(command=each.run)
        self._commands = added.choices

    def error(self, message: str) -> NoReturn:
        """Exit with one line, where argparse prints the usage first."""
        line = " ".join(message.split())
        see = " See" if line.endswith("?") else "; see"
        self.exit(USAGE, f"error: {line}{see} {self.prog} --help\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print, and tell of standard output what argparse would not: that it takes nothing.

        Raises:
            OSError: it cannot be written.
        """
        if file is sys.stderr:
            super()._print_message(message, file)
        else:
            file.write(message)

    def parse_known_args(  # type: ignore[override]  # argparse declares overloads
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse, and refuse what is left over here, where the right help is known."""
        given = list(sys.argv[1:] if args is None else args)
        self._check_names(given)
        options, rest = super().parse_known_args(given, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return options, rest

    def _check_names(self, given: Sequence[str]) -> None:
        """Check before argparse, which would first complain of required flags that are misspelt."""
        for word in given:
            name = word.partition("=")[0]
            if name == "--":
                return
            if name.startswith("--") and " " not in name:
                if name in self._refused:
                    self.error(self._refused[name])
                if name not in self._option_string_actions:
                    self.error(_unknown("flag", name, self._option_string_actions))
            elif self._commands and not name.startswith("-"):
                if word not in self._commands:
                    there_are = f"; there are {', '.join(self._commands)}"
                    self.error(_unknown("command", word, self._commands, there_are))
                return


class Command(NamedTuple):
    """Describes a word after the program's name, and what it does.

    Attributes:
        name: the word.
        summary: one sentence.
        examples: shown below the flags, with the exit codes.
        add_flags: adds its own to its parser.
        run: runs it and returns the exit code.
    """

    name: str
    summary: str
    examples: str
    add_flags: Callable[[CommandParser], None]
    run: Callable[[argparse.Namespace], int]


def _unknown(kind: str, name: str, known: Iterable[str], otherwise: str = "") -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"unknown {kind} {name!r}" + (f"; did you mean {near[0]}?" if near else otherwise)
