"""Speaks SGLang's dialect."""

from typing import Any, ClassVar, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from blockrank_server.service.dialects.base import DOCUMENTS, QUERY, Dialect
from blockrank_server.service.dialects.fields import Query, Score, json_score
from blockrank_server.service.dialects.request import RerankRequest, RerankResult


class SglangResult(TypedDict):
    """Holds one result."""

    score: Score
    document: NotRequired[str]
    index: int
    meta_info: None


class Sglang(Dialect):
    """Is spoken on a path of its own only: its bodies look like Cohere's."""

    name = "sglang"
    peers = "SGLang"
    mark = "its path alone"
    path = "/sglang/v1/rerank"
    return_field = "return_documents"
    methods = ("POST", "PUT")
    answer = list[SglangResult]
    example: ClassVar[dict[str, Any]] = {"query": QUERY, "documents": list(DOCUMENTS), "top_n": 1}

    query: Query
    documents: list[str]
    return_documents: bool | None = Field(True, description="On unless it is false.")

    def request(self) -> RerankRequest:
        is_returned = self.return_documents is not False
        return self.asking(self.query, self.documents, return_documents=is_returned)

    def render(self, result: RerankResult) -> object:
        answer: list[SglangResult] = []
        for ranked in result.ranking:
            index, score = ranked.index, json_score(ranked)
            if result.request.return_documents:
                text = self.documents[index]
                answer.append({"score": score, "document": text, "index": index, "meta_info": None})
            else:
                answer.append({"score": score, "index": index, "meta_info": None})
        return answer
