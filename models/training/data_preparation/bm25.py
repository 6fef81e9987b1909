"""Scores passages by BM25, as a part of a teacher's score: which words a query and a passage share.

Lucene's variant with k1 0.9 and b 0.4, over Snowball's English stems: what gave the embedded
default's training lists their first-stage order.
"""

from collections.abc import Sequence

import bm25s
import numpy as np
import Stemmer
from numpy.typing import NDArray

from blockrank_server.models.data.shortlists import Shortlist, documents_by_id, title_and_text


class Bm25:
    """Indexes texts.

    Args:
        texts: words count over all of them.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._stemmer = Stemmer.Stemmer("english")
        self._num_texts = len(texts)
        self._index = bm25s.BM25(method="lucene", k1=0.9, b=0.4)
        self._index.index(self._words(texts), show_progress=False)

    def scores(self, query: str) -> NDArray[np.float32]:
        """Return [texts] scores."""
        words = self._words([query])[0]
        # A query of stop words alone shares nothing with any text.
        found: NDArray[np.float32] = (
            self._index.get_scores(words) if words else np.zeros(self._num_texts, np.float32)
        )
        return found

    def _words(self, texts: Sequence[str]) -> list[list[str]]:
        found: list[list[str]] = bm25s.tokenize(
            list(texts),
            stopwords="en",
            stemmer=self._stemmer,
            return_ids=False,
            show_progress=False,
        )
        return found


def bm25_scores(lists: Sequence[Shortlist]) -> list[list[float]]:
    """Return BM25 of every document of every list, in the lists' order."""
    documents = documents_by_id(lists)
    row = {doc_id: i for i, doc_id in enumerate(documents)}
    index = Bm25([title_and_text(x) for x in documents.values()])
    scores = []
    for x in lists:
        found = index.scores(x.query)
        scores.append([float(found[row[doc_id]]) for doc_id in x.doc_ids])
    return scores
