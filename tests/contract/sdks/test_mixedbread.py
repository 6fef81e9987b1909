"""The mixedbread package."""

import mixedbread

from contract import DOCUMENTS, QUERY, Ranking, RetryingContract
from live_server import KEY, LiveServer


class TestClient(RetryingContract):
    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        client = mixedbread.Mixedbread(api_key=key, base_url=url)
        found = client.rerank(query=query, input=documents, top_k=len(documents))
        return [(result.index, result.score) for result in found.data]

    def test_objects_are_ranked_by_their_fields_and_come_back(self, server: LiveServer) -> None:
        documents = [{"name": text, "more": {"n": 1}} for text in DOCUMENTS]
        client = mixedbread.Mixedbread(api_key=KEY, base_url=server.url)
        found = client.rerank(
            query=QUERY, input=documents, rank_fields=["name"], top_k=1, return_input=True
        )
        [result] = found.data
        assert (result.index, result.input) == (1, documents[1])
        assert (found.top_k, found.return_input) == (1, True)

    def test_errors_have_their_classes(self, server: LiveServer) -> None:
        wrong = self.failure(server.url, "wrong", DOCUMENTS)
        assert isinstance(wrong, mixedbread.AuthenticationError)
        refused = self.failure(server.url, KEY, self.refused[0])
        assert isinstance(refused, mixedbread.UnprocessableEntityError)
