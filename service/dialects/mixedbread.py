"""Speaks mixedbread's dialect."""

from collections.abc import Mapping
from typing import Any, ClassVar, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from blockrank_server.service.dialects.base import DOCUMENTS, QUERY, Dialect
from blockrank_server.service.dialects.documents import as_documents
from blockrank_server.service.dialects.fields import Flag, Score, Usage, json_score, usage
from blockrank_server.service.dialects.request import RerankRequest, RerankResult


class MixedbreadResult(TypedDict):
    """Holds one result; input is the document as it came."""

    index: int
    score: Score
    input: NotRequired[Any]
    object: str


class MixedbreadAnswer(TypedDict):
    """Lists the results best first; top_k is their number."""

    usage: Usage
    model: str
    data: list[MixedbreadResult]
    object: str
    top_k: int
    return_input: bool


class Mixedbread(Dialect):
    """Sends every document back unless top_k is given; mixedbread's own default is 10."""

    name = "mixedbread"
    peers = "mixedbread, LlamaIndex's MixedbreadAIRerank"
    mark = "`input`"
    path = "/mixedbread/v1/reranking"
    documents_fields = ("input",)
    return_field = "return_input"
    answer = MixedbreadAnswer
    example: ClassVar[dict[str, Any]] = {
        "model": "mixedbread-ai/mxbai-rerank-large-v2",
        "query": QUERY,
        "input": list(DOCUMENTS),
        "top_k": 2,
        "return_input": True,
    }

    query: str = Field(description="Not empty.")
    input: list[Any] = Field(description="The documents: strings, or objects.")
    return_input: Flag = False
    rank_fields: list[str] | None = Field(None, description="Fields of object documents to rank.")

    @classmethod
    def matches(cls, body: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
        return "input" in body

    def request(self) -> RerankRequest:
        documents = as_documents(self.input, "input", self.rank_fields or ())
        return self.asking(self.query, documents, return_documents=self.return_input)

    def render(self, result: RerankResult) -> object:
        data: list[MixedbreadResult] = []
        for ranked in result.ranking:
            data.append(
                {"index": ranked.index, "score": json_score(ranked), "object": "rank_result"}
            )
            if self.return_input:
                data[-1]["input"] = self.input[ranked.index]
        answer: MixedbreadAnswer = {
            "usage": usage(result),
            "model": result.model,
            "data": data,
            "object": "list",
            "top_k": len(data),
            "return_input": self.return_input,
        }
        return answer
