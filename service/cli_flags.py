"""Flags that several commands share."""

import argparse
from typing import get_args

from blockrank_server.models.quantization_names import Quantization


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
