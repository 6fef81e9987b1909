"""Holds the sentences of passages, and the queries that they answer."""

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from blockrank_server.models.data.shortlists import Shortlist, documents_by_id
from blockrank_server.models.training.data_preparation.sentence_queries import is_clear, queries_of
from blockrank_server.models.training.data_preparation.teacher_vectors import TeacherVectors

_LEAST_COSINE = 0.35  # of a question and its answer
# White space after a sentence's end and before what may begin another.
_BOUNDARY = re.compile(r"(?<=[.!?])\s+(?=[\"'(\[]?[A-Z0-9])")
_LEAST_CHARACTERS = 40  # of a sentence; with a shorter one beside it, two stay together


def sentences(text: str) -> list[str]:
    """Split a text into its sentences; nothing is left out, and "J. R. Smith" is not split."""
    found: list[str] = []
    for part in _BOUNDARY.split(text.strip()):
        if found and min(len(part), len(found[-1])) < _LEAST_CHARACTERS:
            found[-1] = f"{found[-1]} {part}"
        else:
            found.append(part)
    return found


@dataclass(frozen=True, slots=True)
class Asked:
    """Holds a query and the sentence that answers it.

    Attributes:
        answer: the sentence's index.
        title: of the sentence's passage: what is held out goes by it.
        is_made: the query was made out of the sentence, so that its label does not err.
    """

    query: str
    answer: int
    title: str
    is_made: bool


class Corpus:
    """Holds the sentences of the sets and what is asked of them.

    Args:
        lists: of all sets.
        num_made: so many queries are made out of sentences.
        rng: draws them.

    Attributes:
        texts: every sentence once.
        asked: every query with its answer.
    """

    def __init__(
        self, lists: Sequence[Shortlist], vectors: TeacherVectors, num_made: int, rng: random.Random
    ) -> None:
        passages = documents_by_id(lists)
        self._parts = {i: _sentences(x["text"]) for i, x in passages.items()}
        self._titles = {
            text: passages[i]["title"] for i, texts in self._parts.items() for text in texts
        }
        self.texts = list(self._titles)
        self._index = {text: i for i, text in enumerate(self.texts)}
        self.vectors = vectors.encode(self.texts)
        self.asked = [*self._questions(lists, vectors), *self._made(num_made, rng)]
        rng.shuffle(self.asked)
        self.query_vectors = vectors.encode([x.query for x in self.asked])

    def holds(self, text: str) -> bool:
        """Say whether this is one of the sentences."""
        return text in self._index

    def _questions(self, lists: Sequence[Shortlist], vectors: TeacherVectors) -> list[Asked]:
        """Find the sentence that answers each question, where one is near enough to it."""
        found = []
        query_vectors = vectors.encode([x.query for x in lists])
        for x, query in zip(lists, query_vectors, strict=True):
            parts = [text for i in x.answer_ids for text in self._parts[i]]
            if not parts:
                continue
            rows = [self._index[text] for text in parts]
            cosines = self.vectors[rows] @ query
            if cosines.max() >= _LEAST_COSINE:
                answer = rows[int(cosines.argmax())]
                found.append(Asked(x.query, answer, self._titles[self.texts[answer]], False))
        return found

    def _made(self, num_made: int, rng: random.Random) -> list[Asked]:
        """Make queries: all of the kinds that are rare, and of the others as many as are wanted."""
        frequency = Counter(w.lower() for text in self.texts for w in set(re.findall(r"\w+", text)))
        rare: list[Asked] = []
        plenty: list[Asked] = []
        for i, text in enumerate(self.texts):
            if not is_clear(text):
                continue
            title = self._titles[text]
            for kind, query in queries_of(title, text, frequency, rng).items():
                (plenty if kind in ("name", "keywords") else rare).append(
                    Asked(query, i, title, True)
                )
        rng.shuffle(rare)
        rare = rare[:num_made]
        return rare + rng.sample(plenty, min(num_made - len(rare), len(plenty)))


def _sentences(text: str) -> list[str]:
    return [part for part in sentences(text) if 30 <= len(part) <= 300]
