"""Write training lists again as groups that share their documents, and lists held out of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blockrank_server.models.data.errors import DataError
from blockrank_server.models.data.shortlists import write_rows
from blockrank_server.models.data.source import Source, find_files, read_lists
from blockrank_server.models.data.training_list import TrainingList
from blockrank_server.models.files.output_file import write_text
from blockrank_server.models.training.sampling import held_out
from blockrank_server.models.training.topics import group_by_topic


@dataclass(frozen=True, slots=True)
class Grouping:
    """Says how lists are grouped.

    Attributes:
        lists_per_group: is data.lists_together of the training config.
        max_documents: limits a group, unless its answers are more.
        max_words: limits a group's documents together, unless its answers are longer.
        max_document_words: no document counts for more: about what training cuts it to.
        max_groups: limits the groups written; None keeps all.
        held_out_lists: so many are left as they are, in a set of their own.
        held_out_groups: so many of the groups are in a set of their own.
        seed: decides the order of the groups.
    """

    lists_per_group: int
    max_documents: int
    max_words: int
    max_document_words: int
    max_groups: int | None
    held_out_lists: int
    held_out_groups: int
    seed: int


def write_groups(path: Path, output: Path, grouping: Grouping) -> dict[str, int]:
    """Write NAME-topics and NAME-held-out into a folder, each as lists, passages and qrels.

    Groups held out are NAME-groups-held-out.

    Args:
        path: names the set as data.sources.path of a training config does.
        output: the folder to write to; it is made where it is missing.

    Returns:
        Counts of groups, lists and documents written.

    Raises:
        DataError: rows that are no training lists; a list without an answer, or with scores of a
            teacher, which has not seen the documents of its group; documents without a doc_id, one
            doc_id with two texts; too few lists for one group to train on.
    """
    lists = list(read_lists(source := Source(path=str(path)), find_files(source, Path())))
    _check(lists)
    out = set(held_out(len(lists), grouping.held_out_lists))
    training = [x for i, x in enumerate(lists) if i not in out]
    passages = {
        doc_id: {"doc_id": doc_id, "title": title, "text": text}
        for x in lists
        for doc_id, title, text in zip(x.doc_ids, x.titles, x.texts, strict=True)
    }
    groups = group_by_topic(
        [_answers(x) for x in training],
        [x.doc_ids for x in training],
        {i: _words(passage, grouping.max_document_words) for i, passage in passages.items()},
        lists_per_group=grouping.lists_per_group,
        max_documents=grouping.max_documents,
        max_words=grouping.max_words,
        seed=grouping.seed,
    )[: grouping.max_groups]
    if not groups:
        raise DataError([f"{path}: {len(training)} lists are less than one group"])
    if (num_trained := len(groups) - grouping.held_out_groups) < 1:
        raise DataError([f"{path}: all of its {len(groups)} groups would be held out"])
    name = set_name(path)
    output.mkdir(parents=True, exist_ok=True)
    grouped = [(training[i], group.doc_ids) for group in groups[:num_trained] for i in group.lists]
    _write_set(output / f"{name}-topics", grouped, passages)
    if apart := groups[num_trained:]:
        lists_apart = [(training[i], group.doc_ids) for group in apart for i in group.lists]
        _write_set(output / f"{name}-groups-held-out", lists_apart, passages)
    _write_set(output / f"{name}-held-out", [(lists[i], lists[i].doc_ids) for i in out], passages)
    return {
        "groups": num_trained,
        "lists": len(grouped),
        "documents": len({doc_id for _, doc_ids in grouped for doc_id in doc_ids}),
        "held_out": len(out),
    }


def set_name(path: Path) -> str:
    """Return what the names of the sets written begin with."""
    return path.name.removesuffix(".gz").removesuffix(".jsonl")


def _check(lists: Sequence[TrainingList]) -> None:
    texts: dict[str, str] = {}
    for x in lists:
        if not any(x.relevance):
            raise DataError([f"{x.where}: no document of the list is an answer"])
        if x.teacher is not None:
            raise DataError(
                [f"{x.where}: teacher_scores are of other documents than the group's; score those"]
            )
        for doc_id, text in zip(x.doc_ids, x.texts, strict=True):
            if texts.setdefault(doc_id, text) != text:
                raise DataError([f"{x.where}: doc_id {doc_id!r} has another text in a list before"])


def _answers(x: TrainingList) -> list[str]:
    return [doc_id for doc_id, r in zip(x.doc_ids, x.relevance, strict=True) if r]


def _words(passage: Mapping[str, str], most: int) -> int:
    return min(most, len(passage["title"].split()) + len(passage["text"].split()))


def _write_set(
    path: Path,
    lists: Sequence[tuple[TrainingList, Sequence[str]]],
    passages: Mapping[str, dict[str, str]],
) -> None:
    """Write lists with the documents that each ranks."""
    needed = dict.fromkeys(doc_id for _, doc_ids in lists for doc_id in doc_ids)
    write_rows(path, ".passages", (passages[doc_id] for doc_id in needed))
    write_rows(
        path,
        ".lists",
        (
            {
                "query_id": x.query_id,
                "query": x.query,
                "doc_ids": doc_ids,
                "answer_ids": _answers(x),
            }
            for x, doc_ids in lists
        ),
    )
    judged = "".join(
        f"{x.query_id}\t{doc_id}\t{relevance}\n"
        for x, _ in lists
        for doc_id, relevance in zip(x.doc_ids, x.relevance, strict=True)
        if relevance
    )
    qrels = path.with_name(f"{path.name}.qrels.tsv")
    write_text(qrels, f"query-id\tdoc-id\trelevance\n{judged}")
