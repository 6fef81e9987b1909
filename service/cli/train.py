"""The commands group-lists, and train: from a config to a folder that serve and rerank open."""

import argparse
import os
from importlib.util import find_spec
from pathlib import Path

from blockrank_server.service.cli.options import OK, UsageError

# Distributions of the extra "train", by the module each brings.
_NEEDED = {"datasets": "datasets", "peft": "peft", "ruamel": "ruamel.yaml"}


def run_training(options: argparse.Namespace) -> int:
    """Train a ranker as the options say.

    Raises:
        UsageError: the config or the data are at fault, or the extra "train" is not installed.
        RankerError: the checkpoint cannot be opened, or training failed.
    """
    _check_installed()
    # OpenMP reads it when torch is loaded: threads that spin at barriers slow down whatever runs
    # beside a training, and so the training.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from accelerate import PartialState  # noqa: PLC0415

    from blockrank_server.models.data.errors import DataError  # noqa: PLC0415
    from blockrank_server.models.engine.host_memory import keep_freed_memory  # noqa: PLC0415
    from blockrank_server.models.training.config_file import load_train_config  # noqa: PLC0415
    from blockrank_server.models.training.errors import ConfigError  # noqa: PLC0415
    from blockrank_server.models.training.run import train  # noqa: PLC0415

    keep_freed_memory()
    try:
        config = load_train_config(options.config, options.assignments)
        checkpoint = Path(options.resume) if options.resume else None
        folder = train(config, is_resuming=options.resume is not None, checkpoint=checkpoint)
    except (ConfigError, DataError) as error:
        raise UsageError(str(error)) from error
    if PartialState().is_main_process:
        print(folder)
    return OK


def group_lists(options: argparse.Namespace) -> int:
    """Write sets of training lists again as groups that share documents.

    Raises:
        UsageError: the data are at fault, or the extra "train" is not installed.
    """
    _check_installed()
    from blockrank_server.models.data.errors import DataError  # noqa: PLC0415
    from blockrank_server.models.training.group_lists import (  # noqa: PLC0415
        Grouping,
        write_groups,
    )

    grouping = Grouping(
        lists_per_group=options.lists,
        max_documents=options.documents,
        max_words=options.words,
        max_document_words=options.document_words,
        max_groups=options.groups,
        held_out_lists=options.held_out,
        seed=options.seed,
    )
    for path in options.data:
        try:
            counts = write_groups(path, options.out, grouping)
        except DataError as error:
            raise UsageError(str(error)) from error
        print(f"{path}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    return OK


def _check_installed() -> None:
    if missing := [name for module, name in _NEEDED.items() if find_spec(module) is None]:
        raise UsageError(f"{', '.join(missing)} missing: pip install 'blockrank-server[train]'")
