"""Requests to OpenSearch, against the format of its documentation (3.x).

docs.opensearch.org: index-apis/create-index, document-apis/bulk, query-dsl/full-text/multi-match,
search-pipelines/rerank-processor, ml-commons connectors and models. No OpenSearch runs here.
"""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from rerank_search.backend import SearchError
from rerank_search.documents import Document
from rerank_search.opensearch_backend import OpenSearchBackend
from rerank_search.opensearch_setup import connector_for, set_up

CLIENTS = Path(__file__).parents[2] / "deploy" / "clients.md"
HIT = {
    "_index": "passages",
    "_id": "bread",
    "_score": 2.5,
    "_source": {"title": "Bread", "text": "Knead.", "passage": "Bread\nKnead."},
}


class Cluster:
    """Writes down what it is asked; ml-commons remembers what it was given, as the real one."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.made: dict[str, dict[str, dict[str, Any]]] = {"connectors": {}, "models": {}}
        self.bulk_has_errors = False

    @property
    def backend(self) -> OpenSearchBackend:
        transport = httpx.MockTransport(self)
        return OpenSearchBackend(httpx.Client(base_url="http://there:9200", transport=transport))

    def asked(self) -> list[tuple[str, str]]:
        return [(each.method, each.url.raw_path.decode()) for each in self.requests]

    def body(self, place: int = -1) -> Any:
        return json.loads(self.requests[place].content)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        path = request.url.path
        if path.endswith("/_bulk"):
            return httpx.Response(200, json={"took": 1, "errors": self.bulk_has_errors})
        if path.startswith("/_plugins/_ml/"):
            return self._ml_commons(path.split("/")[3:], request)
        if path.endswith("/_search"):
            found = {"hits": {"total": {"value": 1, "relation": "eq"}, "hits": [HIT]}}
            return httpx.Response(200, json=found)
        return httpx.Response(200, json={"acknowledged": True})

    def _ml_commons(self, parts: list[str], request: httpx.Request) -> httpx.Response:
        kind, action = parts[0], parts[-1]
        entries = self.made[kind]
        body: dict[str, Any] = json.loads(request.content or b"{}")
        if action == "_search" and not entries:  # its index is made with the first entry
            return httpx.Response(404, json={"error": "no such index", "status": 404})
        if action == "_search":
            name = body["query"]["term"]["name.keyword"]
            hits = [{"_id": key} for key, value in entries.items() if value["name"] == name]
            return httpx.Response(200, json={"hits": {"hits": hits}})
        if action == "_deploy":
            assert parts[1] in entries
            return httpx.Response(200, json={"task_id": "t", "status": "COMPLETED"})
        assert action == {"connectors": "_create", "models": "_register"}[kind]
        identity = f"{kind}-{len(entries)}"
        entries[identity] = body
        return httpx.Response(200, json={f"{kind[:-1]}_id": identity, "status": "CREATED"})


def test_replace_makes_the_index_anew_and_fills_it_in_one_bulk() -> None:
    cluster = Cluster()
    cluster.backend.replace([Document("a/1", "Tä", 'say "x"\n'), Document("b", "", "second")])
    assert cluster.asked() == [
        ("DELETE", "/passages?ignore_unavailable=true"),
        ("PUT", "/passages"),
        ("POST", "/passages/_bulk?refresh=true"),
    ]
    english = {"type": "text", "analyzer": "english"}
    assert cluster.body(1)["mappings"]["properties"] == {
        "title": english,
        "text": english,
        "passage": {"type": "text", "index": False},
    }
    bulk = cluster.requests[2]
    assert bulk.headers["Content-Type"] == "application/x-ndjson"
    assert bulk.content.endswith(b"\n")  # _bulk refuses a last line without one
    assert [json.loads(line) for line in bulk.content.splitlines()] == [
        {"index": {"_id": "a/1"}},
        {"title": "Tä", "text": 'say "x"\n', "passage": 'Tä\nsay "x"\n'},
        {"index": {"_id": "b"}},
        {"title": "", "text": "second", "passage": "\nsecond"},
    ]


def test_a_document_that_was_refused_is_an_error() -> None:
    cluster = Cluster()
    cluster.bulk_has_errors = True
    with pytest.raises(SearchError, match="refused some documents"):
        cluster.backend.replace([Document("a", "", "")])


def test_no_documents_are_no_bulk() -> None:
    cluster = Cluster()
    cluster.backend.replace([])
    assert [path for _, path in cluster.asked()] == [
        "/passages?ignore_unavailable=true",
        "/passages",
    ]


MULTI_MATCH = {
    "multi_match": {"query": "how +long", "fields": ["title", "text"], "type": "most_fields"}
}


def test_a_search_is_one_multi_match() -> None:
    cluster = Cluster()
    [hit] = cluster.backend.search("how +long", 7)
    assert (hit.document, hit.score) == (Document("bread", "Bread", "Knead."), 2.5)
    assert cluster.asked() == [("POST", "/passages/_search")]
    assert cluster.body() == {"size": 7, "query": MULTI_MATCH, "_source": True}


def test_a_reranked_search_names_the_pipeline_and_its_query() -> None:
    cluster = Cluster()
    cluster.backend.search_reranked("how +long", 3, 20)
    assert cluster.asked() == [("POST", "/passages/_search?search_pipeline=blockrank")]
    assert cluster.body() == {
        "size": 20,
        "query": MULTI_MATCH,
        "_source": True,
        "ext": {"rerank": {"query_context": {"query_text": "how +long"}}},
    }


def test_set_up_makes_connector_model_and_pipeline() -> None:
    cluster = Cluster()
    model_id = set_up(cluster.backend, rerank_url="http://rerank:8000", api_key=None)
    asked = [place for place in cluster.asked() if not place[1].endswith("/_search")]
    assert asked == [
        ("PUT", "/_cluster/settings"),
        ("POST", "/_plugins/_ml/connectors/_create"),
        ("POST", "/_plugins/_ml/models/_register"),
        ("POST", f"/_plugins/_ml/models/{model_id}/_deploy"),
        ("PUT", "/_search/pipeline/blockrank"),
    ]
    assert cluster.body(0)["persistent"][
        "plugins.ml_commons.trusted_connector_endpoints_regex"
    ] == [r"^http://rerank:8000/.*$"]
    [model] = cluster.made["models"].values()
    assert (model["function_name"], model["connector_id"]) == ("remote", "connectors-0")
    rerank = {
        "ml_opensearch": {"model_id": model_id},
        "context": {"document_fields": ["passage"]},
    }
    assert cluster.body() == {"response_processors": [{"rerank": rerank}]}


def test_set_up_again_makes_nothing_new() -> None:
    cluster = Cluster()
    first, second = (
        set_up(cluster.backend, rerank_url="http://rerank:8000", api_key="k") for _ in range(2)
    )
    assert first == second
    assert [len(entries) for entries in cluster.made.values()] == [1, 1]


def test_another_address_or_key_moves_the_pipeline_to_a_new_model() -> None:
    cluster = Cluster()
    options: list[tuple[str, str | None]] = [
        ("http://a", None),
        ("http://b", None),
        ("http://b", "k"),
    ]
    models = [set_up(cluster.backend, rerank_url=url, api_key=key) for url, key in options]
    assert len(set(models)) == 3
    pipeline = cluster.body()["response_processors"][0]["rerank"]
    assert pipeline["ml_opensearch"]["model_id"] == models[-1]


def test_the_connector_is_the_one_that_the_client_page_shows() -> None:
    _, _, page = CLIENTS.read_text(encoding="utf-8").partition("### OpenSearch")
    shown = json.loads(page.split("```json\n")[2].split("```")[0])
    ours = connector_for("http://localhost:8000", "KEY")
    assert ours.pop("name").startswith(shown.pop("name"))
    assert ours == shown


def test_an_error_says_what_was_asked_and_nothing_of_the_answer() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        return httpx.Response(400, text="a document's text")

    client = httpx.Client(base_url="http://there", transport=httpx.MockTransport(refuse))
    with pytest.raises(SearchError, match=r"^OpenSearch answered 400 to POST /passages/_search$"):
        OpenSearchBackend(client).search("q", 1)


def test_a_cluster_that_is_away_is_an_error() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("nobody listens")

    client = httpx.Client(base_url="http://there", transport=httpx.MockTransport(refuse))
    with pytest.raises(SearchError, match="ConnectError"):
        OpenSearchBackend(client).search("q", 1)
