"""BM25 of shortlists, as a part of a teacher's score: which words a query and a passage share."""

from collections.abc import Sequence

import bm25s
import numpy as np
import Stemmer

from blockrank_server.models.data.shortlists import Shortlist, documents_by_id, title_and_text


def bm25_scores(lists: Sequence[Shortlist]) -> list[list[float]]:
    """BM25 of every document of every list, in the lists' order; words count over all passages.

    Lucene's variant with k1 0.9 and b 0.4, over Snowball's English stems of title and text: what
    gave the embedded default's training lists their first-stage order.
    """
    documents = documents_by_id(lists)
    row = {doc_id: i for i, doc_id in enumerate(documents)}
    stemmer = Stemmer.Stemmer("english")

    def words(texts: list[str]) -> list[list[str]]:
        found: list[list[str]] = bm25s.tokenize(
            texts, stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False
        )
        return found

    index = bm25s.BM25(method="lucene", k1=0.9, b=0.4)
    index.index(words([title_and_text(x) for x in documents.values()]), show_progress=False)
    scores = []
    for x, query in zip(lists, words([x.query for x in lists]), strict=True):
        # A query of stop words alone shares nothing with any passage.
        found = index.get_scores(query) if query else np.zeros(len(documents))
        scores.append([float(found[row[doc_id]]) for doc_id in x.doc_ids])
    return scores
