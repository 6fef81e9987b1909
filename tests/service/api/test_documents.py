"""POST and DELETE /documents, on a tiny model that keeps documents in memory and on disk."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from blockrank_server.models.prompt.request import Document
from blockrank_server.models.ranker import Ranker

if TYPE_CHECKING:
    from tests.service.conftest import MakeClient

KEYS: dict[str, Any] = {"api_keys": SecretStr("first,second")}
TEXTS: list[Document] = ["a river", {"title": "money", "text": "the bank"}, "a stone " * 20]


@pytest.fixture
def open_keeping(tmp_path: Path, fixtures: Path, keeping_card: Path) -> Callable[[], Ranker]:
    """Open a ranker on the same folder as before."""

    def open_() -> Ranker:
        return Ranker.open(
            fixtures / "blockrank",
            card=keeping_card,
            device="cpu",
            document_cache_bytes=2_000_000,
            document_store=tmp_path / "store",
        )

    return open_


@pytest.fixture
def client(open_keeping: Callable[[], Ranker], make_client: "MakeClient") -> Iterator[TestClient]:
    with make_client(open_keeping()) as client:
        yield client


def fill(client: TestClient, **body: Any) -> Any:
    answer = client.post("/documents", json={"documents": TEXTS} | body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def forget(client: TestClient, **body: Any) -> Any:
    answer = client.request("DELETE", "/documents", json={"documents": TEXTS} | body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def cached(client: TestClient, **body: Any) -> str:
    answer = client.post("/rerank", json={"query": "money", "documents": TEXTS} | body)
    return answer.headers["X-Cached-Documents"]


def counts(**changed: int) -> dict[str, int]:
    names = ("documents", "known", "computed", "kept", "truncated", "blank")
    return dict.fromkeys(names, 0) | changed


def test_documents_that_were_filled_in_are_known_to_a_request(client: TestClient) -> None:
    assert fill(client) == counts(documents=3, computed=3, kept=3, truncated=1)
    assert cached(client) == "3/3"
    assert fill(client, documents=[*TEXTS, "new", " "]) == counts(
        documents=5, known=3, computed=1, kept=4, truncated=1, blank=1
    )


def test_a_restart_keeps_them(
    open_keeping: Callable[[], Ranker], make_client: "MakeClient"
) -> None:
    with make_client(open_keeping()) as client:
        fill(client)
    with make_client(open_keeping()) as client:
        assert cached(client) == "3/3"
        text = client.get("/metrics").text
        info = client.get("/info").json()["document_store"]
    values = {
        "hits_total": 3,
        "misses_total": 0,
        "writes_total": 0,
        "entries": 4,
        "dropped_total": 0,
    }
    for name, value in values.items():
        assert f"\nrerank_document_store_{name} {value}.0\n" in text
    assert '\nrerank_document_store_failures_total{kind="broken"} 0.0\n' in text
    assert (info["hits"], info["num_entries"], info["failures"]["write"]) == (3, 4, 0)


def test_forgotten_documents_are_computed_again(
    client: TestClient, open_keeping: Callable[[], Ranker], tmp_path: Path
) -> None:
    fill(client)
    assert forget(client, documents=[TEXTS[0], "never seen", ""]) == {"documents": 3, "known": 1}
    assert cached(client) == "2/3"
    ranker = open_keeping()
    assert ranker.documents is not None
    assert forget(client) == {"documents": 3, "known": 3}
    assert ranker.encode("money", TEXTS[1:]).num_known_documents == 0  # nor from disk
    assert ranker.documents.close(10)


def test_the_limit_and_the_salt_are_part_of_the_name(client: TestClient) -> None:
    fill(client, max_tokens_per_doc=5, cache_salt="s")
    asked = {"max_tokens_per_doc": 5, "cache_salt": "s"}
    assert [cached(client), cached(client, **asked)] == ["0/3", "3/3"]
    assert forget(client)["known"] == 3  # those of the request above
    assert forget(client, **asked)["known"] == 3


def test_metrics_count_what_became_of_them(client: TestClient) -> None:
    fill(client)
    fill(client, documents=[*TEXTS, ""])
    forget(client)
    text = client.get("/metrics").text
    expected = {"computed": 3, "known": 3, "truncated": 2, "blank": 1, "forgotten": 3}
    for outcome, number in expected.items():
        assert f'\nrerank_filled_documents_total{{outcome="{outcome}"}} {number}.0\n' in text
    assert '\nrerank_requests_total{dialect="none",status="200"} 0.0\n' in text


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"documents": []}, 400, "documents is empty"),
        ({}, 422, "documents: Field required"),
        ({"documents": ["a"] * 9}, 422, "documents holds 9 documents, the limit is 8"),
        ({"documents": ["a", 7]}, 422, "documents[1] is neither a string nor an object"),
        ({"documents": ["a"], "max_tokens_per_doc": 0}, 422, "max_tokens_per_doc"),
        ({"documents": ["a"], "cache_salt": "s" * 257}, 422, "cache_salt: holds 257 characters"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_bad_bodies_are_refused(
    method: str, body: dict[str, Any], status: int, message: str, client: TestClient
) -> None:
    answer = client.request(method, "/documents", json=body)
    assert answer.status_code == status
    assert message in answer.json()["message"]


def test_what_may_not_be_cut_is_refused(client: TestClient) -> None:
    body = {"documents": ["", *TEXTS], "truncate": "NONE"}
    answer = client.post("/documents", json=body)
    assert answer.status_code == 422
    assert answer.json()["message"].startswith("documents[3] has at least")


def test_only_blank_documents_are_no_error(client: TestClient) -> None:
    assert fill(client, documents=["", " "]) == counts(documents=2, blank=2)
    assert forget(client, documents=["", " "]) == {"documents": 2, "known": 0}


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_server_that_keeps_nothing_says_so(method: str, make_client: "MakeClient") -> None:
    with make_client() as client:
        answer = client.request(method, "/documents", json={"documents": ["a"]})
    assert answer.status_code == 404
    assert answer.json()["message"].startswith("No documents are kept here: document_cache_bytes")


def test_a_card_whose_documents_cannot_be_kept_is_named(
    open_card: Callable[..., Ranker], make_client: "MakeClient"
) -> None:
    with make_client(open_card("auto")) as client:
        answer = client.post("/documents", json={"documents": ["a"]})
    assert answer.status_code == 404
    assert "those of the card" in answer.json()["message"]


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_key_is_needed(
    method: str, open_keeping: Callable[[], Ranker], make_client: "MakeClient"
) -> None:
    with make_client(open_keeping(), **KEYS) as client:
        body = {"documents": TEXTS}
        assert client.request(method, "/documents", json=body).status_code == 401
        headers = {"Authorization": "Bearer first"}
        assert client.request(method, "/documents", json=body, headers=headers).status_code == 200


def test_a_salting_key_fills_for_itself(
    open_keeping: Callable[[], Ranker], make_client: "MakeClient"
) -> None:
    with make_client(open_keeping(), **KEYS, document_cache_salt="api_key") as client:
        first, second = ({"Authorization": f"Bearer {key}"} for key in ("first", "second"))
        client.post("/documents", json={"documents": TEXTS}, headers=first)
        body = {"query": "money", "documents": TEXTS}
        known = [
            client.post("/rerank", json=body, headers=key).headers["X-Cached-Documents"]
            for key in (second, first)
        ]
        assert known == ["0/3", "3/3"]
