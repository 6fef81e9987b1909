"""Keeps what a calibration is fitted on: shares, levels and judgements of lists, as lines of JSON.

It takes minutes to score the lists and no time to fit, so that the table is worth a file.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from blockrank_server.models.calibration.drawn_lists import JudgedList, Labels
from blockrank_server.models.calibration.errors import CalibrationError
from blockrank_server.models.evaluation.attention_scorer import batches
from blockrank_server.models.evaluation.scorer import Progress
from blockrank_server.models.files.output_file import write_text
from blockrank_server.models.ranker import Ranker
from blockrank_server.models.score_scale import ScoreScale


@dataclass(frozen=True, slots=True)
class ScoredList:
    """Holds one list without its texts.

    Attributes:
        group: names the set it is from; lists of one group are left out together.
        level: that of the list (kernels/document_scores.py).
        shares: one a document.
    """

    group: str
    query_id: str
    level: float
    shares: tuple[float, ...]
    labels: Labels

    @property
    def has_relevant(self) -> bool:
        return any(self.labels)

    @property
    def num_judged(self) -> int:
        return sum(label is not None for label in self.labels)


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """Holds scored lists, and what they were made by."""

    made_by: Mapping[str, Any]
    lists: tuple[ScoredList, ...]

    def write(self, path: Path) -> None:
        """Write a line of what it was made by, then a line a list.

        Raises:
            OSError: the file cannot be written.
        """
        rows = [dict(self.made_by), *map(asdict, self.lists)]
        write_text(path, "".join(f"{json.dumps(row)}\n" for row in rows))

    @classmethod
    def read(cls, path: Path, made_by: Mapping[str, Any]) -> Self:
        """Read what write has written.

        Raises:
            CalibrationError: it was made by something else, or is no such table.
        """
        try:
            head, *rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
            lists = tuple(
                ScoredList(**row | {key: tuple(row[key]) for key in ("shares", "labels")})
                for row in rows
            )
        except (ValueError, TypeError, KeyError) as error:
            raise CalibrationError(f"{path} is no table of scores: {error}") from error
        if wrong := [key for key, value in made_by.items() if head.get(key) != value]:
            raise CalibrationError(
                f"{path} was made with {wrong[0]} = {head.get(wrong[0])}, now it is "
                f"{made_by[wrong[0]]}; delete it to score the lists again"
            )
        return cls(made_by, lists)


def score_lists(
    ranker: Ranker,
    groups: Mapping[str, Sequence[JudgedList]],
    max_tokens: int,
    progress: Progress,
) -> Iterable[ScoredList]:
    """Yield every list with its scores.

    Args:
        groups: holds lists by the name of their group.
        max_tokens: limits a batch; a larger list goes alone.

    Raises:
        InputError: a list is beyond the card's limits.
    """
    scale = ScoreScale.of(ranker.card, ranker.max_score)
    for group, lists in groups.items():
        encoded = [ranker.encode(x.shortlist.query, x.shortlist.documents) for x in lists]
        for batch in batches(encoded, max_tokens, ranker.card):
            pending = ranker.start([encoded[i] for i in batch])
            rows = pending.result()
            for i, row, level in zip(batch, rows, pending.levels(), strict=True):
                shares = tuple(scale.shares(row))
                query_id = lists[i].shortlist.query_id
                yield ScoredList(group, query_id, level, shares, lists[i].labels)
            progress(len(batch))
