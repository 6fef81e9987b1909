"""What a caller gets who asks where scores come from, out of the tiny checkpoint."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import pytest
from starlette.testclient import TestClient

from blockrank_server.models.prompt import document_parts
from blockrank_server.models.ranker import Ranker
from blockrank_server.service.dialects.registry import DIALECTS

if TYPE_CHECKING:
    from blockrank_server.service.dialects.base import Dialect
    from tests.service.conftest import FakeRanker, MakeClient

TEXT = " 🙂 The river rose. It flooded the bank! 中文。"
SENTENCES = ["🙂 The river rose.", "It flooded the bank!", "中文。"]
BODY: dict[str, Any] = {"query": "river", "documents": [TEXT, "", "A bank. Rain."]}
LIMITS = {"max_documents": 500, "max_document_tokens": 64, "max_query_tokens": 16}


@pytest.fixture(scope="module")
def ranker(open_card: Callable[..., Ranker]) -> Ranker:
    return open_card(limits=LIMITS)


@pytest.fixture
def client(make_client: "MakeClient", ranker: Ranker) -> Iterator[TestClient]:
    with make_client(cast("FakeRanker", ranker)) as client:
        yield client


def by_index(client: TestClient, body: dict[str, Any], path: str = "/rerank") -> dict[int, Any]:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return {result["index"]: result for result in response.json()["results"]}


def test_each_result_tells_where_its_score_comes_from(client: TestClient) -> None:
    explanation = by_index(client, BODY | {"explain": True})[0]["explanation"]
    sentences = explanation["sentences"]
    assert [TEXT[each["start"] : each["end"]] for each in sentences] == SENTENCES
    shares = [each["share"] for each in sentences]
    assert sum(shares) + explanation["frame"] == pytest.approx(1, abs=1e-6)
    assert explanation["best"] == shares.index(max(shares))
    assert set(explanation) == {"sentences", "frame", "best"}


def test_asking_changes_nothing_else(client: TestClient) -> None:
    plain = by_index(client, BODY)
    found = by_index(client, BODY | {"explain": "true", "return_documents": False})
    explained = {index for index, result in found.items() if result.pop("explanation", None)}
    assert found == plain
    assert explained == {0, 2}  # a blank document was not scored
    for unasked in (False, None):
        assert by_index(client, BODY | {"explain": unasked}) == plain


def test_words_and_tokens_are_told_on_request(client: TestClient) -> None:
    query = "river  🙂flood 中文"
    body = BODY | {"query": query, "explain": "tokens"}
    plain = by_index(client, body | {"explain": False})
    found = by_index(client, body)
    explained = {index: result.pop("explanation", None) for index, result in found.items()}
    assert found == plain
    assert explained[1] is None
    explanation = explained[0]
    assert set(explanation) == {"sentences", "frame", "best", "tokens", "words"}
    tokens, words = explanation["tokens"], explanation["words"]
    for a, b in pairwise(tokens):
        assert a["start"] < a["end"] <= b["start"]
    seen = "".join(TEXT[each["start"] : each["end"]] for each in tokens)
    assert "".join(seen.split()) == "".join(TEXT.split())
    assert sum(each["share"] for each in words) == pytest.approx(1, abs=1e-6)
    for word in words:
        assert len(word["tokens"]) == len(tokens)
        total = sum(word["tokens"]) + word["frame"]
        assert total == pytest.approx(word["share"], abs=1e-6)


def test_only_the_results_of_the_answer_are_explained(client: TestClient) -> None:
    [(index, result)] = by_index(client, BODY | {"explain": True, "top_n": 1}).items()
    assert BODY["documents"][index]
    assert result["explanation"]["sentences"]


def test_blank_documents_alone_have_no_explanation(client: TestClient) -> None:
    found = by_index(client, {"query": "q", "documents": ["", " "], "explain": True})
    assert [set(result) for result in found.values()] == [{"index", "relevance_score"}] * 2


def test_a_title_is_told_apart(client: TestClient) -> None:
    document = {"title": "Floods", "text": TEXT, "id": 7}
    [result] = by_index(client, BODY | {"documents": [document], "explain": True}).values()
    explanation = result["explanation"]
    assert explanation["title"].keys() == {"start", "end", "share"}
    assert (explanation["title"]["start"], explanation["title"]["end"]) == (0, 6)
    shares = [each["share"] for each in (*explanation["sentences"], explanation["title"])]
    assert sum(shares) + explanation["frame"] == pytest.approx(1, abs=1e-6)


def test_offsets_are_those_of_what_was_ranked(client: TestClient) -> None:
    """It comes back as the text of a document that has none."""
    document = {"a": "Rain fell.", "b": "The river rose."}
    body = {"query": "q", "documents": [document], "rank_fields": ["b", "a"]}
    [result] = by_index(client, body | {"explain": True, "return_documents": True}).values()
    text = result["document"]["text"]
    found = [text[each["start"] : each["end"]] for each in result["explanation"]["sentences"]]
    assert found == ["The river rose.", "Rain fell."]


def test_a_cut_text_says_where(client: TestClient) -> None:
    text = "The river rose. " * 40
    [result] = by_index(client, BODY | {"documents": [text], "explain": True}).values()
    explanation = result["explanation"]
    assert explanation["truncated_at"] == explanation["sentences"][-1]["end"] < len(text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"explain": True, "documents": ["a"] * 101}, "explain is for up to 100 documents, this"),
        ({"explain": "words"}, "explain: Input should be a valid boolean, or tokens"),
        ({"explain": {}}, "explain: Input should be a valid boolean"),
    ],
)
def test_what_cannot_be_explained_is_refused(
    fields: dict[str, Any], message: str, client: TestClient
) -> None:
    response = client.post("/rerank", json=BODY | fields)
    assert response.status_code == 422
    assert response.json()["error"].startswith(message)
    assert "101" in response.text or len(fields.get("documents", ())) != 101


def test_more_shares_than_an_answer_holds_are_refused(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_parts, "MAX_TOKEN_SHARES", 10)
    response = client.post("/rerank", json=BODY | {"explain": "tokens"})
    assert response.status_code == 422
    assert response.json()["error"].startswith("explain by tokens is for up to 10 shares, this")
    assert client.post("/rerank", json=BODY | {"explain": True}).status_code == 200


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_dialect_explains_or_says_that_it_does_not(
    dialect: "type[Dialect]", client: TestClient
) -> None:
    response = client.post(dialect.path, json=dialect.example | {"explain": True})
    assert response.status_code == 200
    warning = response.headers.get("X-Rerank-Warning", "")
    is_explained = dialect.name in ("cohere", "infinity")
    assert ('"explanation"' in response.text) is is_explained
    assert ("explain is ignored: an answer in this dialect" in warning) is not is_explained
