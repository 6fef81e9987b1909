"""What every search engine does: tantivy always, OpenSearch where OPENSEARCH_URL names one.

OpenSearch asks a real reranker: RERANK_URL is its address from here, OPENSEARCH_RERANK_URL from
OpenSearch (RERANK_URL if it is the same).
"""

import os
from collections.abc import Callable

import httpx
import pytest

from rerank_search.backend import SearchBackend
from rerank_search.documents import Document
from rerank_search.opensearch_backend import OpenSearchBackend
from rerank_search.opensearch_setup import set_up
from rerank_search.reranker import Reranker
from rerank_search.tantivy_backend import TantivyBackend

TIMEOUT_S = 60


class Engine:
    """A search engine and the reranker that it asks."""

    def __init__(self, backend: SearchBackend, reranker: Reranker) -> None:
        self.backend, self.reranker = backend, reranker

    def found(self, query: str, num_hits: int = 10) -> list[str]:
        return [hit.document.doc_id for hit in self.backend.search(query, num_hits)]


def tantivy_engine(reranker: Reranker) -> Engine:
    return Engine(TantivyBackend(reranker), reranker)


def opensearch_engine(_: Reranker) -> Engine:
    client = httpx.Client(base_url=os.environ["OPENSEARCH_URL"], timeout=TIMEOUT_S)
    rerank_url = os.environ["RERANK_URL"]
    backend = OpenSearchBackend(client)
    from_there = os.environ.get("OPENSEARCH_RERANK_URL", rerank_url)
    set_up(backend, rerank_url=from_there, api_key=None)
    here = httpx.Client(base_url=rerank_url)
    return Engine(backend, Reranker(here, timeout_s=TIMEOUT_S))


ENGINES: dict[str, Callable[[Reranker], Engine]] = {"tantivy": tantivy_engine}
if "OPENSEARCH_URL" in os.environ:
    ENGINES["opensearch"] = opensearch_engine


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, reranker: Reranker, documents: list[Document]) -> Engine:
    made = ENGINES[request.param](reranker)
    made.backend.replace(documents)
    return made


def test_finds_the_document_with_the_rarest_words_first(engine: Engine) -> None:
    assert engine.found("immune system")[0] == "vaccines"


def test_a_hit_is_the_document_as_it_was_given(engine: Engine, documents: list[Document]) -> None:
    [hit] = engine.backend.search("dough", 10)
    assert hit.document == documents[1]


def test_finds_by_stem_and_by_title(engine: Engine) -> None:
    assert set(engine.found("vaccine")) == {"vaccines", "doses"}
    assert engine.found("bread") == ["bread"]


def test_scores_fall_and_the_limit_holds(engine: Engine) -> None:
    hits = engine.backend.search("the system of a vaccine", 2)
    assert len(hits) == 2
    assert hits[0].score >= hits[1].score > 0


@pytest.mark.parametrize("query", ["zebra", "?!", " "])
def test_finds_nothing_where_no_word_is_shared(engine: Engine, query: str) -> None:
    assert engine.found(query) == []
    assert engine.backend.search_reranked(query, 10, 20) == []


@pytest.mark.parametrize(
    "query",
    ['"immune" AND (system', "immune system -vaccine", "title:immune", "immune~2 sys*tem^9", "a\\"],
)
def test_no_character_of_a_query_is_an_operator(engine: Engine, query: str) -> None:
    words = "".join(c if c.isalnum() else " " for c in query)
    assert engine.found(query) == engine.found(words)


def test_replace_forgets_what_was_there(engine: Engine, documents: list[Document]) -> None:
    engine.backend.replace(documents[:2])
    assert set(engine.found("vaccine dough market")) == {"vaccines", "bread"}
    engine.backend.replace([])
    assert engine.found("vaccine dough market") == []


def test_replacing_by_the_same_changes_nothing(engine: Engine, documents: list[Document]) -> None:
    before = engine.backend.search("vaccine system", 10)
    engine.backend.replace(documents)
    assert engine.backend.search("vaccine system", 10) == before


@pytest.mark.parametrize("num_candidates", [1, 2, 5])
def test_reranks_the_best_candidates_in_the_rerankers_order(
    engine: Engine, num_candidates: int
) -> None:
    query = "vaccine system market dough machine"
    first = [hit.document for hit in engine.backend.search(query, num_candidates)]
    assert len(first) == num_candidates
    expected = [first[index].doc_id for index, _ in engine.reranker.order(query, first)]
    hits = engine.backend.search_reranked(query, 10, num_candidates)
    assert [hit.document.doc_id for hit in hits] == expected
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_gives_no_more_reranked_hits_than_asked_for(engine: Engine) -> None:
    query = "vaccine system market dough machine"
    best = engine.backend.search_reranked(query, 5, 5)[:2]
    assert engine.backend.search_reranked(query, 2, 5) == best
