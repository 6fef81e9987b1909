"""Scores the lists that a card carries, for the command verify."""

import sys
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from blockrank_server.models.checkpoint.content_digest import content_digest
from blockrank_server.models.checkpoint.stored_scores import StoredList, read_scores, write_scores
from blockrank_server.models.errors import CardError
from blockrank_server.models.files.text import TextError, parse_json, read_text
from blockrank_server.models.prompt.request import Document
from blockrank_server.service.cli.exit_codes import FAILURE, OK, UsageError
from blockrank_server.service.cli.options import reading
from blockrank_server.service.open_ranker import OpenRanker, checkpoint_of, open_ranker
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.models.any_ranker import AnyRanker
    from blockrank_server.models.ranker import Ranker

# Measured on the default card: models/README.md.
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.03}


def verify_scores(file: Path, settings: Settings, open_ranker: OpenRanker = open_ranker) -> int:
    """Score the lists of a file, print how far the scores are off, and return an exit code.

    Raises:
        UsageError: there is no such file, it was changed, or its scores are of other weights or of
            another adapter.
    """
    try:
        provenance, lists = read_scores(file)
    except CardError as error:
        raise UsageError(str(error)) from error
    if provenance.checkpoint != _digest(settings):
        raise UsageError(f"{file} holds the scores of other weights or of another adapter")
    ranker = _packed(open_ranker(settings.keeping_nothing()))
    if (tolerance := provenance.tolerance.get(ranker.info.dtype)) is None:
        raise UsageError(f"{file} states no tolerance for {ranker.info.dtype}")
    differences: list[float] = []
    num_pairs = num_swapped = 0
    for each in lists:
        found = _score(ranker, each)
        differences += [abs(a - b) for a, b in zip(found, each.scores, strict=True)]
        apart = [(i, j) for i, j in _pairs(each.scores) if each.scores[i] != each.scores[j]]
        num_pairs += len(apart)
        num_swapped += sum(
            (found[i] > found[j]) != (each.scores[i] > each.scores[j]) for i, j in apart
        )
    # No comparison with a nan is true.
    info, is_same = ranker.info, all(off <= tolerance for off in differences)
    print(
        f"{'reproduced' if is_same else 'NOT reproduced'}: {info.name} on {info.device}, "
        f"{info.dtype}, quantization {info.quantization}, attention {info.attention}\n"
        f"{len(lists)} lists, {len(differences)} documents: largest difference "
        f"{max(differences):.2g}, tolerance {tolerance:g}; {num_swapped} of {num_pairs} pairs in "
        "another order"
    )
    return OK if is_same else FAILURE


def store_scores(
    lists: Path, file: Path, settings: Settings, open_ranker: OpenRanker = open_ranker
) -> int:
    """Score lists, and write them with their scores for verify_scores.

    Raises:
        UsageError: the lists cannot be read, or the model does not run in float32 as it is.
        OSError: the file cannot be written.
    """
    read = _read_lists(lists)
    ranker = _packed(open_ranker(settings.keeping_nothing()))
    if (ranker.info.dtype, ranker.info.quantization) != ("float32", "none"):
        raise UsageError("scores are stored of --dtype float32, --quantization none")
    scored = [each.model_copy(update={"scores": tuple(_score(ranker, each))}) for each in read]
    write_scores(file, _digest(settings), TOLERANCE, scored)
    print(f"wrote {file}", file=sys.stderr)
    return OK


def _packed(ranker: "AnyRanker") -> "Ranker":
    """Refuse chains of reasoning, whose scores belong to no list."""
    from blockrank_server.models.ranker import Ranker  # noqa: PLC0415

    if isinstance(ranker, Ranker):
        return ranker
    raise UsageError(f"verify replays scores of one pass, card {ranker.card.name} writes chains")


def _read_lists(path: Path) -> list[StoredList]:
    found = []
    try:
        with reading():
            lines = read_text(path).splitlines()
        for line in lines:
            fields = parse_json(line)
            scores = [0.0] * len(fields["documents"])  # they are still to be computed
            found.append(StoredList.model_validate(fields | {"scores": scores}))
    except (TextError, ValidationError, TypeError, KeyError) as error:
        raise UsageError(f"{path}: line {len(found) + 1} holds no query and documents") from error
    if not found:
        raise UsageError(f"{path} holds no list")
    return found


def _digest(settings: Settings) -> str:
    return content_digest(checkpoint_of(settings).with_adapter(settings.adapter))


def _score(ranker: "Ranker", listed: StoredList) -> list[float]:
    documents: list[Document] = [
        each if isinstance(each, str) else each.model_dump() for each in listed.documents
    ]
    return ranker.score([ranker.encode(listed.query, documents)])[0]


def _pairs(scores: Sequence[float]) -> Iterator[tuple[int, int]]:
    return combinations(range(len(scores)), 2)
