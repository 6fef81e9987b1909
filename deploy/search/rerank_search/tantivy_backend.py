"""Searches by BM25 inside this process: for trying the demo in a minute, and for tests."""

import re
from collections.abc import Sequence

import tantivy

from rerank_search.backend import Hit
from rerank_search.documents import Document
from rerank_search.reranker import Reranker

_FIELDS = ["title", "text"]
_WRITER_BYTES = 64_000_000


class TantivyBackend:
    """Keeps an index in memory, and asks a reranker from this process."""

    def __init__(self, reranker: Reranker) -> None:
        self._reranker = reranker
        self._index = _empty_index()

    def replace(self, documents: Sequence[Document]) -> None:
        """Build a new index and swap it in."""
        index = _empty_index()
        writer = index.writer(_WRITER_BYTES, num_threads=1)
        for each in documents:
            writer.add_document(
                tantivy.Document(doc_id=each.doc_id, title=each.title, text=each.text)
            )
        writer.commit()
        writer.wait_merging_threads()
        index.reload()
        self._index = index

    def search(self, query: str, num_hits: int) -> list[Hit]:
        """Search by BM25 over title and text, with English stems."""
        # Upper case and punctuation are operators to the parser; words in lower case never are.
        words = " ".join(re.findall(r"\w+", query.lower()))
        if not words:
            return []
        index = self._index
        searcher = index.searcher()
        found = searcher.search(index.parse_query(words, _FIELDS), num_hits).hits
        return [Hit(_stored(searcher.doc(address)), float(score)) for score, address in found]

    def search_reranked(self, query: str, num_hits: int, num_candidates: int) -> list[Hit]:
        """Search the index here, then send one request to the reranker."""
        candidates = [hit.document for hit in self.search(query, num_candidates)]
        if not candidates:
            return []
        order = self._reranker.order(query, candidates)
        return [Hit(candidates[index], score) for index, score in order[:num_hits]]


def _empty_index() -> tantivy.Index:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("doc_id", stored=True, tokenizer_name="raw")
    for name in _FIELDS:
        builder.add_text_field(name, stored=True, tokenizer_name="en_stem")
    return tantivy.Index(builder.build())


def _stored(found: tantivy.Document) -> Document:
    return Document(*(str(found.get_first(name)) for name in ("doc_id", *_FIELDS)))
