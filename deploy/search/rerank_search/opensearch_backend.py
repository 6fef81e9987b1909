"""Searches by BM25 in OpenSearch, which asks the reranker itself: by a pipeline over ml-commons.

opensearch_setup.py makes the pipeline. Requests follow OpenSearch's documentation of
`_bulk`, `_search` and the rerank processor (3.x); no OpenSearch was at hand when this was written.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import orjson

from rerank_search.backend import Hit, SearchError
from rerank_search.documents import Document

INDEX = "passages"
PIPELINE = "blockrank"
# OpenSearch joins several fields without a space between, so title and text are one field more.
RERANKED_FIELD = "passage"
_TEXT = {"type": "text", "analyzer": "english"}
_NEW_INDEX = {
    "settings": {"index": {"number_of_shards": 1, "number_of_replicas": 0}},
    "mappings": {
        "dynamic": "strict",
        "properties": {
            "title": _TEXT,
            "text": _TEXT,
            RERANKED_FIELD: {"type": "text", "index": False},
        },
    },
}
_BULK = {"Content-Type": "application/x-ndjson"}


class NotThereError(SearchError):
    """OpenSearch has nothing at that address, such as an index that nobody has made."""


class OpenSearchBackend:
    """Searches an index of a cluster, whose base URL the client has."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def replace(self, documents: Sequence[Document]) -> None:
        """Delete the index if it is there, make it anew, fill it."""
        self.ask("DELETE", f"/{INDEX}", params={"ignore_unavailable": "true"})
        self.ask("PUT", f"/{INDEX}", body=_NEW_INDEX)
        if not documents:
            return
        lines = b"".join(
            orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
            for each in documents
            for line in (
                {"index": {"_id": each.doc_id}},
                {"title": each.title, "text": each.text, RERANKED_FIELD: each.passage},
            )
        )
        # Refreshed, so that what was written can be found.
        found = self._send(
            "POST", f"/{INDEX}/_bulk", params={"refresh": "true"}, content=lines, headers=_BULK
        )
        if found["errors"]:
            raise SearchError("OpenSearch refused some documents")

    def search(self, query: str, num_hits: int) -> list[Hit]:
        """Search by BM25 over title and text, with English stems."""
        return self._hits(_query(query, num_hits), {})

    def search_reranked(self, query: str, num_hits: int, num_candidates: int) -> list[Hit]:
        """Send one request; the pipeline reranks as many hits as it asks for."""
        body = _query(query, num_candidates)
        body["ext"] = {"rerank": {"query_context": {"query_text": query}}}
        return self._hits(body, {"search_pipeline": PIPELINE})[:num_hits]

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        params: Mapping[str, str] | None = None,
    ) -> Any:
        """Send a request and return the answer, parsed from JSON.

        Raises:
            SearchError: refused, or OpenSearch cannot be reached.
        """
        return self._send(method, path, params=params or {}, json=body)

    def _hits(self, body: dict[str, Any], params: Mapping[str, str]) -> list[Hit]:
        found = self.ask("POST", f"/{INDEX}/_search", body=body, params=params)
        return [
            Hit(
                Document(each["_id"], each["_source"]["title"], each["_source"]["text"]),
                float(each["_score"]),
            )
            for each in found["hits"]["hits"]
        ]

    def _send(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = self._client.request(method, path, **options)
        except httpx.TransportError as error:
            raise SearchError(f"OpenSearch gave no answer ({type(error).__name__})") from error
        if not answer.is_success:
            kind = NotThereError if answer.status_code == httpx.codes.NOT_FOUND else SearchError
            # Not its text, which may quote a document.
            raise kind(f"OpenSearch answered {answer.status_code} to {method} {path}")
        return answer.json()


def _query(query: str, size: int) -> dict[str, Any]:
    # multi_match takes its text as words, unlike query_string. most_fields adds the scores of both
    # fields up, as tantivy does.
    match = {"query": query, "fields": ["title", "text"], "type": "most_fields"}
    # The pipeline reads the reranked field from what is returned, so it must be.
    return {"size": size, "query": {"multi_match": match}, "_source": True}
