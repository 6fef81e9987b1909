"""What a caller gets who asks where scores come from, out of the tiny checkpoint."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import pytest
from starlette.testclient import TestClient

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
        ({"explain": "tokens"}, "explain: Input should be a valid boolean"),
        ({"explain": {}}, "explain: Input should be a valid boolean"),
    ],
)
def test_what_cannot_be_explained_is_refused(
    fields: dict[str, Any], message: str, client: TestClient
) -> None:
    response = client.post("/rerank", json=BODY | fields)
    assert response.status_code == 422
    assert response.json()["error"].startswith(message)
    assert "101" in response.text or "documents" not in fields


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
