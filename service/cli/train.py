"""Defines the command train: from a config to a folder that serve and rerank open."""

import argparse
import os
import sys
from pathlib import Path

from blockrank_server.service.cli.exit_codes import OK, UsageError
from blockrank_server.service.cli.extras import check_installed
from blockrank_server.service.cli.parser import Command, CommandParser

_EXAMPLES = """examples:
  blockrank-server train my.yaml
  blockrank-server train my.yaml --set output=runs/2 --set loss.temperature=0.1
  blockrank-server train my.yaml --resume
  accelerate launch --multi_gpu -m blockrank_server.service train my.yaml

models/TRAINING.md lists the keys of the config. Needs pip install 'blockrank-server[train]'.
exit codes: 0 ok, 1 model or training failure, 2 wrong usage, config or data"""


def run_training(options: argparse.Namespace) -> int:
    """Train a ranker as the options say.

    Raises:
        UsageError: the config or the data are at fault, or the extra "train" is not installed.
        RankerError: the checkpoint cannot be opened, or training failed.
    """
    check_installed("train")
    # OpenMP reads it when torch is loaded: threads that spin at barriers slow down whatever runs
    # beside a training, and so the training.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from accelerate import PartialState  # noqa: PLC0415

    from blockrank_server.models.checkpoint.cache import NoHomeError  # noqa: PLC0415
    from blockrank_server.models.data.errors import DataError  # noqa: PLC0415
    from blockrank_server.models.engine.host_memory import keep_freed_memory  # noqa: PLC0415
    from blockrank_server.models.training.config_file import load_train_config  # noqa: PLC0415
    from blockrank_server.models.training.errors import ConfigError  # noqa: PLC0415
    from blockrank_server.models.training.run import train  # noqa: PLC0415

    keep_freed_memory()
    try:
        config = load_train_config(options.config, options.assignments)
        checkpoint = Path(options.resume) if options.resume else None
        folder = train(
            config,
            is_resuming=options.resume is not None,
            checkpoint=checkpoint,
            tell=_tell,
        )
    except (ConfigError, DataError, NoHomeError) as error:
        raise UsageError(str(error)) from error
    if PartialState().is_main_process:
        print(folder)
    return OK


def _tell(line: str) -> None:
    from accelerate import PartialState  # noqa: PLC0415

    if PartialState().is_main_process:
        print(f"note: {line}", file=sys.stderr)


def _add_flags(parser: CommandParser) -> None:
    parser.add_argument("config", metavar="CONFIG", type=Path, help="A YAML file.")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        dest="assignments",
        action="append",
        default=[],
        help="Sets a key of the config, such as loss.temperature=0.1; may be repeated.",
    )
    parser.add_argument(
        "--resume",
        metavar="CHECKPOINT",
        nargs="?",
        const="",
        help="Go on from a checkpoint of this run; from the latest if none is named.",
    )


COMMAND = Command(
    "train", "Train a ranker on lists with known answers.", _EXAMPLES, _add_flags, run_training
)
