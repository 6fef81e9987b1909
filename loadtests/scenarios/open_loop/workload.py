"""Makes bodies of requests: real questions and passages, cut to the lengths of MS MARCO's."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from blockrank_server.models.data.shortlists import read_shortlists

DATA = Path(__file__).parents[2] / "data"
SAMPLE = "squad-sample"


@dataclass(frozen=True, slots=True)
class DocumentLengths:
    """Draws the words of a document: log-normal, rounded and clipped.

    The defaults have a mean of 60 words, which is what MS MARCO's passages have; the form is ours.

    Attributes:
        median_words: half of the documents are longer.
        sigma: standard deviation of the logarithm.
        min_words: no document is shorter.
        max_words: no document is longer.
    """

    median_words: float = 56.0
    sigma: float = 0.38
    min_words: int = 8
    max_words: int = 200

    def __post_init__(self) -> None:
        if not (0 < self.min_words <= self.median_words <= self.max_words and self.sigma >= 0):
            raise ValueError(
                f"median of {self.median_words:g} words is not within "
                f"{self.min_words} .. {self.max_words}, or sigma {self.sigma:g} is below 0"
            )

    def draw(self, rng: random.Random) -> int:
        """Draw the number of words of one document."""
        drawn = round(self.median_words * rng.lognormvariate(0, self.sigma))
        return min(max(drawn, self.min_words), self.max_words)

    def __str__(self) -> str:
        return (
            f"log-normal, median {self.median_words:g} words, sigma {self.sigma:g}, "
            f"clipped to {self.min_words} .. {self.max_words}"
        )


@dataclass(frozen=True, slots=True)
class CorpusQuestion:
    """Holds a query and its first-stage passages, by their place in Corpus.passages."""

    query: str
    passages: tuple[int, ...]


class Corpus:
    """Reads questions and passages of a sample on disk.

    Raises:
        OSError: a file is missing.
    """

    def __init__(self, folder: Path = DATA, name: str = SAMPLE) -> None:
        places: dict[str, int] = {}
        self.passages: list[list[str]] = []
        self.questions: list[CorpusQuestion] = []
        for one in read_shortlists(folder, name):
            for doc_id, document in zip(one.doc_ids, one.documents, strict=True):
                if doc_id not in places:
                    places[doc_id] = len(self.passages)
                    self.passages.append(document["text"].split())
            own = tuple(places[doc_id] for doc_id in one.doc_ids)
            self.questions.append(CorpusQuestion(one.query, own))

    def words(self) -> list[str]:
        """Return every word of the passages once, sorted."""
        return sorted({word for words in self.passages for word in words})

    def shortlist(
        self, num_documents: int, lengths: DocumentLengths, rng: random.Random
    ) -> tuple[str, list[str]]:
        """Draw a query and documents.

        The documents are a question's own first-stage passages in random order, then the others'.
        """
        question = rng.choice(self.questions)
        order = self._order(question, rng)
        return question.query, [
            " ".join(self._cut(next(order), lengths.draw(rng), rng)) for _ in range(num_documents)
        ]

    def _order(self, question: CorpusQuestion, rng: random.Random) -> Iterator[int]:
        own = set(question.passages)
        others = [place for place in range(len(self.passages)) if place not in own]
        while True:
            for group in (list(question.passages), others):
                yield from rng.sample(group, len(group))

    def _cut(self, place: int, num_words: int, rng: random.Random) -> Sequence[str]:
        """Take so many words from a random place of a passage on, and of the next if need be."""
        words = self.passages[place]
        if len(words) >= num_words:
            start = rng.randint(0, len(words) - num_words)
            return words[start : start + num_words]
        joined = list(words)
        while len(joined) < num_words:
            place = (place + 1) % len(self.passages)
            joined += self.passages[place]
        return joined[:num_words]


class RequestBodies:
    """Makes bodies in Cohere's dialect, whose documents are made ahead of a run.

    Two requests may have the same documents, but no two have the same query: a server that does the
    work of identical requests once would be measured too fast.

    Args:
        needed: document count and number of a list; every list that will be asked for.
        seed: decides which texts are chosen.
    """

    def __init__(
        self, needed: Iterable[tuple[int, int]], lengths: DocumentLengths, seed: int
    ) -> None:
        corpus = Corpus()
        self._words = corpus.words()
        self._lists: dict[tuple[int, int], tuple[str, bytes]] = {}
        for count, number in sorted(set(needed)):
            rng = random.Random(f"lists/{seed}/{count}/{number}")
            query, documents = corpus.shortlist(count, lengths, rng)
            self._lists[count, number] = query, orjson.dumps(documents)

    def body(self, num_documents: int, number: int, index: int) -> bytes:
        """Write a list, with a question that two words in front make the only one of its kind.

        Args:
            number: says which of the lists of that length is taken.
            index: the number of the request, which makes its question unique.
        """
        query, documents = self._lists[num_documents, number]
        size = len(self._words)
        first, second = self._words[index % size], self._words[index // size % size]
        asked = orjson.dumps(f"{first} {second} {query}")
        return b'{"query":%b,"documents":%b}' % (asked, documents)
