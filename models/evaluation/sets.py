"""Reads evaluation sets: lists in first-stage order with judgements, in training data's format."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from blockrank_server.models.data.errors import DataError
from blockrank_server.models.data.judgements import read_qrels
from blockrank_server.models.data.shortlists import Shortlist
from blockrank_server.models.data.source import LISTS, Source, file_rows, find_files
from blockrank_server.models.data.training_list import RowError, parse_answers, parse_list
from blockrank_server.models.evaluation.errors import EvaluationError

_ENDINGS = (LISTS, ".jsonl.gz", ".jsonl")
Qrels = dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """Holds queries with their lists, and all that is known of relevance.

    Attributes:
        lists: stand in file order, each a query of its own.
        qrels: the relevance by query and document, for every judged query.
    """

    name: str
    lists: tuple[Shortlist, ...]
    qrels: Qrels

    @property
    def num_unjudged(self) -> int:
        """Count the lists whose query has no judgement; they count nowhere."""
        return sum(x.query_id not in self.qrels for x in self.lists)

    def limited(self, num_queries: int) -> "EvaluationSet":
        """Keep the first queries only, with their judgements."""
        lists = self.lists[:num_queries]
        kept = {x.query_id for x in lists}
        qrels = {q: judged for q, judged in self.qrels.items() if q in kept}
        return replace(self, lists=lists, qrels=qrels)

    def cut(self, num_documents: int | None) -> "EvaluationSet":
        """Keep the first documents of each list only; None keeps all."""
        if num_documents is None:
            return self
        return replace(self, lists=tuple(x.first(num_documents) for x in self.lists))

    def shuffled(self, seed: int) -> "EvaluationSet":
        """Put every list into an order of its own that the seed and the query decide."""
        return replace(self, lists=tuple(_shuffled(x, seed) for x in self.lists))


def find_sets(paths: Sequence[Path], names: Sequence[str] | None = None) -> dict[str, Path]:
    """Return where the sets are, by name.

    Args:
        paths: folders, files of BlockRank's rows (.jsonl, .jsonl.gz), or FOLDER/NAME of
            NAME.lists.jsonl.gz.
        names: only these are taken, in this order; None takes all.

    Raises:
        EvaluationError: there is none, or two have one name.
    """
    found: dict[str, Path] = {}
    for path in paths:
        for name, place in _sets_at(path):
            if name in found:
                raise EvaluationError(f"two sets are named {name}: {found[name]} and {place}")
            found[name] = place
    if missing := [name for name in names or () if name not in found]:
        raise EvaluationError(f"no set {missing[0]!r}; there are {', '.join(found)}")
    return {name: found[name] for name in names or found}


def read_set(name: str, path: Path) -> EvaluationSet:
    """Read lists and judgements: NAME.qrels.tsv beside the lists, else the rows' answer_ids.

    Raises:
        DataError: rows or files are at fault; told by file and line.
        EvaluationError: no judgement fits a list.
    """
    files = find_files(Source(path=str(path)), Path())
    beside = path.with_name(f"{name}.qrels.tsv")
    qrels_file = files.qrels or (beside if beside.exists() else None)
    judged = _integers(read_qrels(qrels_file)) if qrels_file else None
    lists: dict[str, Shortlist] = {}
    answers: Qrels = {}
    faults: list[str] = []
    for where, row in file_rows(files):
        try:
            if isinstance(row, RowError):
                raise row
            found = parse_list(row, where)
            if found.query_id in lists:
                raise RowError("query_id stands in an earlier line too")
            if judged is None:
                named = parse_answers(row, found.doc_ids)
                answers[found.query_id] = dict.fromkeys(named, 1)
        except RowError as error:
            faults.append(f"{where}: {error}")
            continue
        texts = zip(found.titles, found.texts, strict=True)
        documents = tuple({"title": title, "text": text} for title, text in texts)
        lists[found.query_id] = Shortlist(found.query_id, found.query, found.doc_ids, documents, ())
    if faults:
        raise DataError(faults)
    qrels = answers if judged is None else judged
    if not any(query_id in qrels for query_id in lists):
        raise EvaluationError(f"{qrels_file or path}: no judgement is of a query in the lists")
    return EvaluationSet(name, tuple(lists.values()), qrels)


def _sets_at(path: Path) -> list[tuple[str, Path]]:
    if path.is_dir():
        files = sorted(path.iterdir())
        found = [f for f in files if f.name.endswith((LISTS, ".jsonl", ".jsonl.gz"))]
        places = [f for f in found if not f.name.endswith(".passages.jsonl.gz")]
        if not places:
            raise EvaluationError(f"{path} holds no lists (*{LISTS}, *.jsonl, *.jsonl.gz)")
        return [_set_at(place) for place in places]
    return [_set_at(path)]


def _set_at(path: Path) -> tuple[str, Path]:
    """Return the name, and the path as a training source takes it."""
    for ending in _ENDINGS:
        if path.name.endswith(ending):
            name = path.name.removesuffix(ending)
            return name, path.with_name(name) if ending == LISTS else path
    return path.name, path


def _integers(qrels: dict[str, dict[str, float]]) -> Qrels:
    return {q: {d: int(value) for d, value in judged.items()} for q, judged in qrels.items()}


def _shuffled(x: Shortlist, seed: int) -> Shortlist:
    order = list(range(len(x.doc_ids)))
    random.Random(f"{seed} {x.query_id}").shuffle(order)
    return replace(
        x,
        doc_ids=tuple(x.doc_ids[i] for i in order),
        documents=tuple(x.documents[i] for i in order),
    )
