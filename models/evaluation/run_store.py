"""Keeps the runs of one evaluation: made once, kept as TREC files, found again after a stop."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blockrank_server.models.evaluation.errors import EvaluationError
from blockrank_server.models.evaluation.scorer import Progress, Scorer
from blockrank_server.models.evaluation.sets import EvaluationSet
from blockrank_server.models.evaluation.trec import Run, ranked, read_run, write_run
from blockrank_server.models.files.output_file import write_text
from blockrank_server.models.files.text import TextError, parse_json, read_text

_MADE_BY = "made_by.json"


@dataclass(frozen=True, slots=True)
class Variant:
    """Describes a way to show the lists of a set.

    Attributes:
        num_documents: each list is cut to so many documents; None keeps all.
        seed: decides the shuffle; None keeps the order given.
    """

    num_documents: int | None
    seed: int | None = None

    def of(self, found: EvaluationSet) -> EvaluationSet:
        """Return the set as shown."""
        cut = found.cut(self.num_documents)
        return cut if self.seed is None else cut.shuffled(self.seed)

    def file_name(self, found: EvaluationSet) -> str:
        """Name the run's file, so that the name says which lists it is of."""
        count = "all" if self.num_documents is None else str(self.num_documents)
        order = "" if self.seed is None else f".shuffled-{self.seed}"
        return f"{found.name}.{count}{order}.run"


class RunStore:
    """Keeps the run files of one ranker.

    Args:
        path: the folder; it is made where it is missing.
        made_by: everything that decides the scores, to tell another ranker's runs by.
        scorer: scores the lists whose runs are not there yet.

    Raises:
        EvaluationError: the folder holds runs of another ranker, or of other queries.
    """

    def __init__(self, path: Path, made_by: Mapping[str, object], scorer: Scorer) -> None:
        self._path = path
        self._scorer = scorer
        self._tag = str(made_by["name"]).replace("\t", " ")
        path.mkdir(parents=True, exist_ok=True)
        file = path / _MADE_BY
        if not file.exists():
            write_text(file, json.dumps(made_by, indent=1) + "\n")
        before = _made_by(file)
        if before != (now := json.loads(json.dumps(made_by))):
            other = sorted(key for key in before.keys() | now if before.get(key) != now.get(key))
            raise EvaluationError(
                f"{path} holds runs made with another {', '.join(other)}: name another folder"
            )

    def has(self, found: EvaluationSet, variant: Variant) -> bool:
        """Say whether the run is there; a file is always whole."""
        return (self._path / variant.file_name(found)).exists()

    def runs(
        self, found: EvaluationSet, variants: Sequence[Variant], progress: Progress
    ) -> dict[Variant, Run]:
        """Return the run of each variant; missing ones are made together, to share documents."""
        missing = [v for v in variants if not self.has(found, v)]
        shown = [v.of(found).lists for v in missing]
        scores = iter(self._scorer([x for lists in shown for x in lists], progress))
        for variant, lists in zip(missing, shown, strict=True):
            run: Run = {
                x.query_id: [] if row is None else ranked(x.doc_ids, row)
                for x, row in ((x, next(scores)) for x in lists)
            }
            write_run(self._path / variant.file_name(found), run, self._tag)
        return {v: _read(self._path / v.file_name(found), v.of(found)) for v in variants}


def _made_by(file: Path) -> dict[str, object]:
    try:
        found = parse_json(read_text(file))
    except TextError as error:
        told = str(error) if str(file) in str(error) else f"{file} {error}"
        raise EvaluationError(f"{told}; name another folder") from error
    if not isinstance(found, dict):
        raise EvaluationError(f"{file} does not tell what made its runs: name another folder")
    return found


def external_run(path: Path, found: EvaluationSet, num_documents: int | None) -> Run:
    """Read another system's run of a set.

    Args:
        path: a file, or a folder that holds NAME.run.
        num_documents: keeps documents only that are among the first so many of the list; None keeps
            all the run has.

    Raises:
        DataError: it cannot be read.
        EvaluationError: it ranks no query of the set.
    """
    file = path / f"{found.name}.run" if path.is_dir() else path
    run = read_run(file)
    if not any(query_id in run for query_id in found.qrels):
        raise EvaluationError(f"{file}: ranks no query of the set {found.name}")
    if num_documents is None:
        return run
    shown = {x.query_id: set(x.doc_ids) for x in found.cut(num_documents).lists}
    return {
        q: [pair for pair in ranking if pair[0] in shown[q]]
        for q, ranking in run.items()
        if q in shown
    }


def _read(path: Path, found: EvaluationSet) -> Run:
    """Read a run of this folder, which may be of no answer at all.

    Raises:
        EvaluationError: it is of other lists.
    """
    run = read_run(path) if path.stat().st_size else {}
    lists = {x.query_id: set(x.doc_ids) for x in found.lists}
    for query_id, ranking in run.items():
        if {doc_id for doc_id, _ in ranking} != lists.get(query_id):
            raise EvaluationError(f"{path} is of other lists than {found.name}: remove it")
    return run
