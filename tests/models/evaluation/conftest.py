"""Sets of lists, on disk and in memory."""

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from blockrank_server.models.data.shortlists import Shortlist
from blockrank_server.models.evaluation.sets import EvaluationSet, Qrels

MakeSet = Callable[[Mapping[str, str], Qrels], EvaluationSet]
WriteSet = Callable[[Path, str, Mapping[str, Sequence[str]], str], Path]


def shortlist(query_id: str, doc_ids: Sequence[str]) -> Shortlist:
    texts = [{"title": "", "text": f"All about {doc_id}."} for doc_id in doc_ids]
    return Shortlist(query_id, f"what is {query_id}?", tuple(doc_ids), tuple(texts), ())


@pytest.fixture
def make_set() -> MakeSet:
    """A set from the doc_ids of each query, parted by spaces, and qrels."""

    def make(lists: Mapping[str, str], qrels: Qrels) -> EvaluationSet:
        found = tuple(shortlist(q, doc_ids.split()) for q, doc_ids in lists.items())
        return EvaluationSet("toy", found, qrels)

    return make


@pytest.fixture
def write_set() -> WriteSet:
    """Files of a set: doc_ids of each query, and the text of its qrels; the path before endings."""

    def write(folder: Path, name: str, lists: Mapping[str, Sequence[str]], qrels: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        rows = [
            {"query_id": q, "query": f"what is {q}?", "doc_ids": list(ids), "answer_ids": []}
            for q, ids in lists.items()
        ]
        ids = sorted({doc_id for ids in lists.values() for doc_id in ids})
        passages = [{"doc_id": i, "title": "", "text": f"All about {i}."} for i in ids]
        for kind, found in (("lists", rows), ("passages", passages)):
            with gzip.open(folder / f"{name}.{kind}.jsonl.gz", "wt", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in found)
        (folder / f"{name}.qrels.tsv").write_text(qrels)
        return folder / name

    return write
