"""Groups lists of one topic that share documents, so that one forward pass teaches many queries.

Where documents do not see the query, a document that several lists of a batch hold is computed
once (models/engine/packing.py). A group is made of lists whose answers stand in one another's
documents; all of its lists rank the same documents: the answers of all, and what their lists hold
most often.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Of one answer's lists in a group: more would be the same lesson again.
_LISTS_PER_ANSWER = 4


@dataclass(frozen=True, slots=True)
class TopicGroup:
    """Holds lists that share their documents.

    Attributes:
        lists: indices of the lists, as many as were asked for.
        doc_ids: the documents that all of them rank.
    """

    lists: tuple[int, ...]
    doc_ids: tuple[str, ...]


def group_by_topic(
    answers: Sequence[Sequence[str]],
    doc_ids: Sequence[Sequence[str]],
    words: Mapping[str, int],
    *,
    lists_per_group: int,
    max_documents: int,
    max_words: int,
    seed: int,
) -> list[TopicGroup]:
    """Return groups in random order, each list in one at most; lists left over are dropped.

    Args:
        answers: holds the relevant documents of each list.
        doc_ids: holds all documents of each list.
        words: counts for each document the words that are trained on.
        lists_per_group: every group has so many lists.
        max_documents: limits a group, unless the answers alone are more.
        max_words: limits a group's documents together, unless the answers alone have more.
        seed: decides the order.
    """
    order = list(range(len(answers)))
    random.Random(seed).shuffle(order)
    pool = _Pool(answers, order)
    groups = []
    while len(pool) >= lists_per_group:
        lists, held = _gather(pool, lists_per_group, answers, doc_ids)
        documents = dict.fromkeys(x for i in lists for x in answers[i])
        room = max_words - sum(words[x] for x in documents)
        for found, _ in held.most_common():
            if found in documents:
                continue
            room -= words[found]
            if room < 0 or len(documents) >= max_documents:
                break
            documents[found] = None
        groups.append(TopicGroup(tuple(lists), tuple(documents)))
    random.Random(f"{seed} groups").shuffle(groups)
    return groups


def _gather(
    pool: "_Pool",
    num_lists: int,
    answers: Sequence[Sequence[str]],
    doc_ids: Sequence[Sequence[str]],
) -> tuple[list[int], Counter[str]]:
    """Take lists of one topic out of the pool, and count how many of them hold each document."""
    held: Counter[str] = Counter()
    answered: Counter[str] = Counter()
    lists: list[int] = []
    while len(lists) < num_lists:
        chosen = pool.take(held, answered)
        lists.append(chosen)
        answered.update(answers[chosen])
        held.update(doc_ids[chosen])
    return lists, held


class _Pool:
    """Keeps the lists that are not yet in a group."""

    def __init__(self, answers: Sequence[Sequence[str]], order: Sequence[int]) -> None:
        self._answers = answers
        self._left = dict.fromkeys(order)
        self._by_answer: dict[str, dict[int, None]] = defaultdict(dict)
        for i in order:
            for answer in answers[i]:
                self._by_answer[answer][i] = None

    def __len__(self) -> int:
        return len(self._left)

    def take(self, held: Counter[str], answered: Counter[str]) -> int:
        """Take the list whose answer the group's lists hold most often; else the next one."""
        for answer, _ in held.most_common():
            if answered[answer] < _LISTS_PER_ANSWER and self._by_answer.get(answer):
                return self._remove(next(iter(self._by_answer[answer])))
        return self._remove(next(iter(self._left)))

    def _remove(self, index: int) -> int:
        del self._left[index]
        for answer in self._answers[index]:
            del self._by_answer[answer][index]
        return index
