"""What the commands share: exit codes, settings from flags, flags of the model."""

import argparse
from typing import get_args

from pydantic import ValidationError

from blockrank_server.models.quantization.names import Quantization
from blockrank_server.service.settings import Settings

OK, FAILURE, USAGE, INTERRUPTED = 0, 1, 2, 130


class UsageError(Exception):
    """A wrong flag, setting or input; shown in one line."""


def read_settings(options: argparse.Namespace) -> Settings:
    """Settings from the environment, and from flags, which win.

    Raises:
        UsageError: naming every setting at fault.
    """
    flags = {
        name: value
        for name in Settings.model_fields
        if (value := getattr(options, name, None)) is not None
    }
    try:
        return Settings(**flags)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}" if e["loc"] else e["msg"]
            for e in error.errors()
        ]
        raise UsageError("; ".join(faults)) from error


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """What is opened, and how it runs; each is a field of Settings."""
    parser.add_argument("--model", help="folder, hub name or default (default)")
    parser.add_argument("--card", metavar="FILE", help="instead of the checkpoint's own card")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (auto)")
    parser.add_argument("--dtype", help="float32 or bfloat16 (auto)")
    parser.add_argument(
        "--quantization", choices=get_args(Quantization), help="most weights in fewer bits (none)"
    )
    parser.add_argument("--revision", help="branch, tag or commit of a hub repository")
    parser.add_argument(
        "--offline", action="store_true", default=None, help="fetch nothing from the hub"
    )


def positive(text: str) -> int:
    """A whole number above 0.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
