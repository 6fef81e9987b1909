"""A corpus of five documents, and a reranker that needs no model."""

import json
from collections.abc import Callable

import httpx
import pytest

from rerank_search.documents import Document
from rerank_search.reranker import Reranker

Handler = Callable[[httpx.Request], httpx.Response]


def rank_by_length(request: httpx.Request) -> httpx.Response:
    """As the server answers, the shortest document first."""
    documents: list[str] = json.loads(request.content)["documents"]
    order = sorted(range(len(documents)), key=lambda i: len(documents[i]))
    results = [
        {"index": index, "relevance_score": 1 / (place + 1)} for place, index in enumerate(order)
    ]
    return httpx.Response(200, json={"results": results})


def client_of(handler: Handler) -> httpx.Client:
    return httpx.Client(base_url="http://there", transport=httpx.MockTransport(handler))


@pytest.fixture
def documents() -> list[Document]:
    texts = {
        "vaccines": "A vaccine trains the immune system to recognise a pathogen before it comes.",
        "bread": "Knead the dough for ten minutes, then let it rise for an hour.",
        "programs": "An operating system shares the machine among them.",
        "markets": "The stock market closed higher.",
        "doses": "Vaccines are often given in two doses, a few weeks apart from each other.",
    }
    return [Document(name, name.title(), text) for name, text in texts.items()]


@pytest.fixture
def reranker() -> Reranker:
    return Reranker(client_of(rank_by_length), timeout_s=5)
