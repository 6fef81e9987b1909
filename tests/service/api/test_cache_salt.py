"""Salts keep what one caller's documents cost from telling another about them."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.service.dialects.registry import DIALECTS

if TYPE_CHECKING:
    from blockrank_server.service.dialects.base import Dialect
    from tests.service.conftest import FakeRanker, MakeClient

BODY = {"query": "a b", "documents": ["a", "b c", "d"]}
KEYS = ("first", "second")


@pytest.fixture
def salts() -> list[str]:
    """Hold the salts that the ranker was given."""
    return []


@pytest.fixture
def salted(fake_ranker: "type[FakeRanker]", salts: list[str]) -> "FakeRanker":
    class Salted(fake_ranker):  # type: ignore[misc, valid-type]
        def encode(
            self, query: str, documents: Sequence[Any], *, cache_salt: str = "", **options: Any
        ) -> EncodedRequest:
            salts.append(cache_salt)
            encoded: EncodedRequest = super().encode(query, documents, **options)
            return encoded

    return Salted()


@pytest.fixture
def client(salted: "FakeRanker", make_client: "MakeClient") -> Iterator[TestClient]:
    with make_client(salted) as client:
        yield client


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_every_dialect_takes_a_salt(
    dialect: "type[Dialect]", client: TestClient, salts: list[str]
) -> None:
    for more in ({"cache_salt": "s"}, {"cache_salt": "s"}, {"cache_salt": "t"}):
        answer = client.post(dialect.path, json=dialect.example | more)
        assert answer.status_code == 200
        assert "X-Rerank-Warning" not in answer.headers
    for body in (dialect.example, dialect.example | {"cache_salt": None}):
        assert client.post(dialect.path, json=body).status_code == 200
    assert salts[0] == salts[1] != salts[2]
    assert salts[3:] == ["", ""]


@pytest.mark.parametrize(
    ("salt", "message"),
    [
        ("", "cache_salt: holds 0 characters, 1 to 256 are allowed"),
        ("s" * 257, "cache_salt: holds 257 characters, 1 to 256 are allowed"),
        ("s" * 10_000_000, "cache_salt: holds 10000000 characters, 1 to 256 are allowed"),
        (7, "cache_salt: Input should be a valid string"),
        (["s"], "cache_salt: Input should be a valid string"),
    ],
    ids=["empty", "long", "10 MB", "number", "list"],
)
def test_a_bad_salt_is_refused_with_field_limit_and_value(
    salt: Any, message: str, client: TestClient, salts: list[str]
) -> None:
    answer = client.post("/rerank", json=BODY | {"cache_salt": salt})
    assert answer.status_code == 422
    assert answer.json()["message"] == message
    assert salts == []


def test_a_salt_of_256_characters_is_taken(client: TestClient) -> None:
    assert client.post("/rerank", json=BODY | {"cache_salt": "ü" * 256}).status_code == 200


def test_salts_that_are_not_unicode_do_not_become_one(client: TestClient, salts: list[str]) -> None:
    raw = b'{"query": "a", "documents": ["a"], "cache_salt": "\\ud800"}'
    answer = client.post("/rerank", content=raw)
    assert answer.status_code == 422
    assert answer.json()["message"] == "cache_salt holds text that is not Unicode"
    assert salts == []


@pytest.fixture
def ask_with_keys(salted: "FakeRanker", make_client: "MakeClient", salts: list[str]) -> Any:
    def ask(setting: str) -> list[str]:
        keys = SecretStr(",".join(KEYS))
        with make_client(salted, api_keys=keys, document_cache_salt=setting) as client:
            for more in ({}, {"cache_salt": "s"}):
                for key in (*KEYS, KEYS[0]):
                    headers = {"X-API-Key": key}
                    assert client.post("/rerank", json=BODY | more, headers=headers).is_success
        return salts

    return ask


def test_keys_share_what_is_known_unless_they_salt(ask_with_keys: Any) -> None:
    plain, _, _, *given = ask_with_keys("none")
    assert plain == ""
    assert len(set(given)) == 1


def test_keys_that_salt_share_nothing_with_others(ask_with_keys: Any) -> None:
    first, second, again, *given = ask_with_keys("api_key")
    assert first == again
    assert given[0] == given[2]
    assert len({first, second, given[0], given[1], ""}) == 5
    assert not any(key in salt for key in KEYS for salt in (first, second))
