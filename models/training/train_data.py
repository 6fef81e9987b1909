"""Prepares the lists of a run: reads, validates, splits and orders them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blockrank_server.models.data.errors import DataError
from blockrank_server.models.files.paths import expand_user
from blockrank_server.models.training.config import TrainConfig
from blockrank_server.models.training.errors import ConfigError
from blockrank_server.models.training.examples import (
    ExampleMaker,
    HeldOutExamples,
    TrainingExamples,
)
from blockrank_server.models.training.list_table import ListTable, open_table
from blockrank_server.models.training.sampling import ListOrder, held_out


@dataclass(frozen=True, slots=True)
class TrainData:
    """Holds what a run trains and validates on.

    Attributes:
        training: holds every example of the run, in order.
        validation: holds the examples that are not trained on.
        num_steps: counts the optimizer's steps.
        lists_per_epoch: counts the lists of all sources.
    """

    training: TrainingExamples
    validation: HeldOutExamples
    num_steps: int
    lists_per_epoch: int


def open_data(config: TrainConfig, maker: ExampleMaker, cache_dir: Path) -> TrainData:
    """Read and validate every list before anything is trained.

    Args:
        maker: makes the examples.
        cache_dir: keeps the validated lists.

    Raises:
        DataError: rows or files are at fault; told by file and line.
        ConfigError: there are too few lists for one step.
    """
    tables, faults = _open_tables(config, cache_dir)
    if faults:
        raise DataError(faults)
    validation, training = [], []
    for source, table in zip(config.data.sources, tables, strict=True):
        most = len(table) if source.lists_per_epoch == 0 else len(table) // 2
        validation.append(held_out(len(table), min(source.validation_lists, most)))
        out = set(validation[-1])
        training.append([row for row in range(len(table)) if row not in out])
    order = _order(config, [len(rows) for rows in training])
    num_steps = config.steps or int(
        (config.epochs or 0) * order.lists_per_epoch // config.lists_per_step
    )
    if not num_steps:
        raise ConfigError(
            f"{config.epochs} epochs of {order.lists_per_epoch} lists are less than one step of "
            f"{config.lists_per_step} (lists_per_step)"
        )
    draws = [config.data.draw_of(source) for source in config.data.sources]
    examples = TrainingExamples(
        tables,
        draws,
        training,
        order,
        maker,
        seed=config.seed,
        num_examples=num_steps * config.lists_per_step,
    )
    held_out_examples = HeldOutExamples(tables, draws, validation, maker, seed=config.seed)
    return TrainData(examples, held_out_examples, num_steps, order.lists_per_epoch)


def _order(config: TrainConfig, sizes: Sequence[int]) -> ListOrder:
    """Return the order of lists over the run.

    Raises:
        ConfigError: a source's lists or its share of an epoch are no multiple of lists_together.
    """
    together = config.data.lists_together
    shares = [
        size if source.lists_per_epoch is None else source.lists_per_epoch
        for source, size in zip(config.data.sources, sizes, strict=True)
    ]
    for source, size, share in zip(config.data.sources, sizes, shares, strict=True):
        if share % together or (share and size % together):
            raise ConfigError(
                f"{source.path or source.hub} gives {share} of its {size} lists to an epoch; both "
                f"must be multiples of data.lists_together = {together}"
            )
    return ListOrder(sizes, shares, config.seed, lists_together=together)


def _open_tables(config: TrainConfig, cache_dir: Path) -> tuple[list[ListTable], list[str]]:
    """Return every source's lists, and the faults of all sources."""
    tables: list[ListTable] = []
    faults: list[str] = []
    for source in config.data.sources:
        try:
            table = open_table(source, expand_user(config.data.root), cache_dir)
            table.check(
                min_relevance=config.data.min_relevance,
                needs_answers=config.loss.contrastive + config.loss.lm > 0,
                needs_teacher=config.loss.distillation > 0 and source.needs_teacher,
            )
            tables.append(table)
        except DataError as error:
            faults += error.faults
    return tables, faults
