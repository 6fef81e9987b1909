"""Keeps what it takes to compute a step again whose loss or gradient is no number."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from blockrank_server.models.training.errors import TrainingError
from blockrank_server.models.training.examples import Batch
from blockrank_server.models.training.trained_weights import TrainedWeights

BATCH_FILE = "batch.json"


class NotFiniteError(TrainingError):
    """The loss or its gradient is infinite or no number."""


def write_report(folder: Path, batches: Iterable[Batch], weights: TrainedWeights) -> None:
    """Write the lists of the step, forward pass by forward pass, and the weights as they are.

    Args:
        folder: is made where it is missing.
        batches: those of the step. Their token ids and where they come from are kept, not their
            text.
        weights: those that gave the loss.
    """
    weights.save(folder)
    lists = [_lists(batch) for batch in batches]
    (folder / BATCH_FILE).write_text(json.dumps(lists, indent=1) + "\n")


def _lists(batch: Batch) -> list[dict[str, Any]]:
    return [
        {
            "where": example.where,
            "query_id": example.query_id,
            "doc_ids": example.doc_ids,
            "positive": example.positive,
            "teacher": example.teacher,
            "token_ids": example.request.token_ids.tolist(),
            "position_ids": example.request.position_ids.tolist(),
        }
        for example in batch.examples
    ]
