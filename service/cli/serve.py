"""Defines the command serve: its flags, which are all settings, and the checks before it starts."""

import argparse

from blockrank_server.service.cli.options import add_settings, check_model, read_settings
from blockrank_server.service.cli.parser import Command, CommandParser
from blockrank_server.service.settings import Settings

_EXAMPLES = """examples:
  blockrank-server serve
  blockrank-server serve --model ./checkpoint --port 9000
  blockrank-server serve --model MindscapeRAG/QRRanker --max-batch-tokens 32768
  BLOCKRANK_MODEL=MindscapeRAG/QRRanker blockrank-server serve

Every setting can be given as BLOCKRANK_<NAME> too; a flag wins over its variable.
blockrank-server info lists the settings in force.
exit codes: 0 ended by a signal, 1 model or port failure, 2 wrong flag or setting"""


def _add_flags(parser: CommandParser) -> None:
    add_settings(parser, Settings.model_fields)


def _run(options: argparse.Namespace) -> int:
    settings = read_settings(options)
    check_model(settings)
    # Here and not on top: help is shown without waiting for it.
    from blockrank_server.service.api.server import serve  # noqa: PLC0415

    return serve(settings)


COMMAND = Command("serve", "Answer POST /rerank over HTTP.", _EXAMPLES, _add_flags, _run)
