"""Makes lists of one-sentence documents, whose distractors are look-alikes, out of passages.

    python -m blockrank_server.models.training.data_preparation.short_lists MODEL SET... --out OUT

MODEL is a folder of sentence-transformers, a SET FOLDER/NAME of NAME.lists.jsonl.gz and its
fellows. Documents are the sentences of the passages. Queries are the sets' own questions, whose
answer is the sentence of the relevant passage that the teacher ranks first, and queries made out of
the sentences (sentence_queries.py). A group's queries are neighbours of one another; its documents
are their answers, those answers with the name that the query asks for swapped for another (same
relation, another entity), and the sentences that the teacher or BM25 ranks next (same entity,
another relation). OUT/sentences is a set as `train` takes it, with the teacher's scores, a list's
hardest documents first; OUT/sentences-held-out holds queries of titles that it has not.
"""

import argparse
import random
import re
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray

from blockrank_server.models.data.shortlists import (
    read_shortlists,
)
from blockrank_server.models.training.data_preparation.bi_encoder import open_bi_encoder
from blockrank_server.models.training.data_preparation.bm25 import Bm25
from blockrank_server.models.training.data_preparation.document_groups import (
    Group,
    Ranked,
    write_groups,
)
from blockrank_server.models.training.data_preparation.sentence_corpus import Asked, Corpus
from blockrank_server.models.training.data_preparation.sentence_queries import (
    names_in,
    swap_name,
)
from blockrank_server.models.training.data_preparation.teacher_vectors import TeacherVectors

_MARGIN = 0.03  # what a teacher puts so close below the answer may answer as well
_LEAST_OTHERS = 3  # documents of a list beside its answer
_BM25_WEIGHT = 0.01  # as in the teacher of passages


class Grouper:
    """Puts queries that are neighbours into groups, with documents that are hard for them."""

    def __init__(
        self, corpus: Corpus, teacher: TeacherVectors, num_documents: int, rng: random.Random
    ) -> None:
        self._corpus = corpus
        self._teacher = teacher
        self._num_documents = num_documents
        self._rng = rng
        self._bm25 = Bm25(corpus.texts)
        self._names = sorted({name for text in corpus.texts for name in names_in(text)})

    def groups(self, wanted: Sequence[int], num_lists: int, num_groups: int) -> list[Group]:
        """Make groups of queries, each query in one at most; `wanted` names them by index."""
        left = dict.fromkeys(wanted)
        vectors = self._corpus.query_vectors
        made: list[list[int]] = []
        while len(left) >= num_lists and len(made) < num_groups:
            rows = np.fromiter(left, np.int64)
            nearness = vectors[rows] @ vectors[rows[0]]
            chosen = rows[np.argpartition(-nearness, num_lists - 1)[:num_lists]]
            for i in chosen:
                del left[int(i)]
            made.append([int(i) for i in chosen])
        drafts = [self._draft(chosen) for chosen in made]
        texts = list(dict.fromkeys(text for _, texts in drafts for text in texts))
        scorer = _Scorer(texts, self._teacher)
        groups = [_group(asked, texts, self._corpus, scorer) for asked, texts in drafts]
        return [group for group in groups if _teaches(group)]

    def _draft(self, chosen: Sequence[int]) -> tuple[Sequence[int], list[str]]:
        """Choose the documents of a group: answers, swapped answers, then neighbours."""
        corpus, rng = self._corpus, self._rng
        asked = [corpus.asked[i] for i in chosen]
        texts = dict.fromkeys(corpus.texts[x.answer] for x in asked)
        for x in asked:
            if swapped := swap_name(corpus.texts[x.answer], x.query, self._names, rng):
                texts[swapped] = None
        near = self._neighbours(chosen)
        for place in range(self._num_documents):
            for rows in near:
                if len(texts) < self._num_documents and place < len(rows):
                    texts[corpus.texts[rows[place]]] = None
        return chosen, list(texts)

    def _neighbours(self, chosen: Sequence[int]) -> list[list[int]]:
        """List for each query the sentences that the teacher and BM25 rank first, by turns."""
        corpus, most = self._corpus, min(self._num_documents, len(self._corpus.texts))
        found = []
        for i, cosines in zip(chosen, corpus.query_vectors[chosen] @ corpus.vectors.T, strict=True):
            rows = np.stack(
                [_first(cosines, most), _first(self._bm25.scores(corpus.asked[i].query), most)],
                axis=1,
            )
            found.append(list(dict.fromkeys(map(int, rows.ravel()))))
        return found


def _first(scores: NDArray[np.float32], most: int) -> NDArray[np.int64]:
    """Return the places of the highest scores, the highest first."""
    found = np.argpartition(-scores, most - 1)[:most]
    return found[np.argsort(-scores[found])]


class _Scorer:
    """Scores texts for a query: the teacher's cosine and a hundredth of BM25."""

    def __init__(self, texts: Sequence[str], teacher: TeacherVectors) -> None:
        self._rows = {text: i for i, text in enumerate(texts)}
        self._vectors = teacher.encode(texts)
        self._bm25 = Bm25(texts)

    def scores(
        self, query: str, query_vector: NDArray[np.float32], texts: Sequence[str]
    ) -> NDArray[np.float32]:
        rows = [self._rows[text] for text in texts]
        cosines: NDArray[np.float32] = self._vectors[rows] @ query_vector
        return cosines + _BM25_WEIGHT * self._bm25.scores(query)[rows]


def _group(asked: Sequence[int], texts: list[str], corpus: Corpus, scorer: _Scorer) -> Group:
    lists = []
    for i in asked:
        x = corpus.asked[i]
        scores = scorer.scores(x.query, corpus.query_vectors[i], texts)
        answer = texts.index(corpus.texts[x.answer])
        lists.append((x.query, _ranked(x, texts, answer, scores, corpus)))
    return Group(texts, lists)


def _teaches(group: Group) -> bool:
    """Say whether every list has enough documents that are no answer."""
    return all(sum(not x.is_answer for x in ranked) >= _LEAST_OTHERS for _, ranked in group.lists)


def _ranked(
    x: Asked, texts: Sequence[str], answer: int, scores: NDArray[np.float32], corpus: Corpus
) -> list[Ranked]:
    """Put the answers first, then the others, each by score.

    Beside its own sentence a question is answered by what the teacher puts above it or close below,
    and a query that was made by what holds all of its words; a sentence with a swapped name never.
    """
    words = set(re.findall(r"\w{3,}", x.query.lower()))
    found = []
    for i in np.argsort(-scores):
        if x.is_made:
            is_answer = words <= set(re.findall(r"\w{3,}", texts[i].lower()))
        else:
            is_answer = scores[i] > scores[answer] - _MARGIN
        is_answer = i == answer or (is_answer and corpus.holds(texts[i]))
        found.append(Ranked(int(i), bool(is_answer), round(float(scores[i]), 5)))
    return sorted(found, key=lambda each: not each.is_answer)


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="folder of the teacher")
    parser.add_argument("sets", type=Path, nargs="+", help="FOLDER/NAME of sets")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", default="sentences", help="name of the set written")
    parser.add_argument("--groups", type=int, default=1500)
    parser.add_argument("--lists", type=int, default=12, help="lists of a group")
    parser.add_argument("--documents", type=int, default=36, help="documents of a group")
    parser.add_argument("--made", type=int, default=5000, help="queries made out of sentences")
    parser.add_argument("--held-out", type=int, default=12, help="groups of the set held out")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    vectors = TeacherVectors(
        open_bi_encoder(args.model, 96, "bfloat16"), args.out / "sentence_vectors.npz"
    )
    lists = [x for path in args.sets for x in read_shortlists(path.parent, path.name)]
    corpus = Corpus(lists, vectors, args.made, rng := random.Random(args.seed))
    grouper = Grouper(corpus, vectors, args.documents, rng)
    # One title in twenty, whatever the seed.
    held_out = [i for i, x in enumerate(corpus.asked) if crc32(x.title.encode()) % 20 == 0]
    training = [i for i, x in enumerate(corpus.asked) if crc32(x.title.encode()) % 20]
    write_groups(
        args.out / f"{args.name}-held-out", grouper.groups(held_out, args.lists, args.held_out)
    )
    write_groups(args.out / args.name, grouper.groups(training, args.lists, args.groups))


if __name__ == "__main__":
    main()
