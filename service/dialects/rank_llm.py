"""Speaks rank_llm's dialect."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from typing_extensions import TypedDict

from blockrank_server.models.prompt.request import Document
from blockrank_server.service.dialects.base import DOCUMENTS, QUERY, Dialect
from blockrank_server.service.dialects.documents import as_document, check_depth
from blockrank_server.service.dialects.fields import Score, json_score
from blockrank_server.service.dialects.request import RerankRequest, RerankResult
from blockrank_server.service.errors import InvalidFieldError

# Where rank_llm looks for a document's text, in this order.
_TEXTS = ("text", "segment", "contents", "content", "body", "passage")


class RankLlmQuery(BaseModel):
    """Holds a query. Its other fields come back."""

    model_config = ConfigDict(extra="allow")

    text: str = Field(description="Not empty.")
    qid: str | int = ""


class RankLlmCandidate(BaseModel):
    """Holds a document: text, or doc, which may be an object. Its other fields come back in doc."""

    model_config = ConfigDict(extra="allow")

    docid: str | int | None = Field(None, description="The place from 1 unless given.")
    text: str | None = None
    doc: str | dict[str, Any] | None = None

    def document(self, field: str) -> Document:
        """Return what is ranked."""
        doc = self.doc if self.text is None else self.text
        if doc is None:
            raise InvalidFieldError(f"{field} has neither text nor doc", field=field)
        check_depth(self.doc, f"{field}.doc")
        check_depth(self.model_extra, field)
        if isinstance(doc, dict) and (key := next((k for k in _TEXTS if k in doc), None)):
            doc = {"text": doc[key], "title": doc.get("title")}
        return as_document(doc, f"{field}.doc")

    def sent_back(self) -> dict[str, Any]:
        """Return the document as it is put into an answer."""
        others = {name: v for name, v in (self.model_extra or {}).items() if name != "score"}
        if isinstance(self.doc, dict):
            return others | ({} if self.text is None else {"contents": self.text}) | self.doc
        return {"contents": self.doc if self.text is None else self.text} | others


def _text_as_object(value: object) -> object:
    return {"text": value} if isinstance(value, str) else value


class RankLlmRanked(TypedDict):
    """Holds one result; doc is what came, a text as {contents}."""

    docid: str | int
    score: Score
    doc: dict[str, Any]


class RankLlmResult(TypedDict):
    """Holds the ranking of one query, best first."""

    query: dict[str, Any]
    candidates: list[RankLlmRanked]
    invocations_history: list[Any]


class RankLlmArtifact(TypedDict):
    """Holds a list of one result."""

    name: str
    kind: str
    value: list[RankLlmResult]


class RankLlmAnswer(TypedDict):
    """Is the envelope of rank_llm's commands."""

    schema_version: str
    repo: str
    command: str
    mode: str
    status: str
    exit_code: int
    inputs: dict[str, str]
    resolved: dict[str, str]
    artifacts: list[RankLlmArtifact]
    validation: dict[str, Any]
    metrics: dict[str, Any]
    warnings: list[str]
    errors: list[Any]


class RankLlm(Dialect):
    """Accepts rank_llm's overrides, which choose how it prompts; here they have no effect."""

    name = "rank_llm"
    peers = "rank_llm"
    mark = "`candidates`"
    path = "/rank_llm/v1/rerank"
    documents_fields = ("candidates",)
    always_returns = True
    answer = RankLlmAnswer
    example: ClassVar[dict[str, Any]] = {
        "query": {"text": QUERY, "qid": "q1"},
        "candidates": [{"docid": "d1", "text": DOCUMENTS[0]}, DOCUMENTS[1]],
    }

    query: Annotated[RankLlmQuery, BeforeValidator(_text_as_object)]
    candidates: list[Annotated[RankLlmCandidate, BeforeValidator(_text_as_object)]] = Field(
        description="The documents: texts, or objects."
    )

    @classmethod
    def matches(cls, body: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
        return "candidates" in body

    def request(self) -> RerankRequest:
        documents = [c.document(f"candidates[{i}]") for i, c in enumerate(self.candidates)]
        check_depth(self.query.model_extra, "query")
        warnings = []
        if any(c.text is not None and c.doc is not None for c in self.candidates):
            warnings.append("doc is ignored where a candidate has a text: text is ranked")
        return self.asking(self.query.text, documents, return_documents=True, warnings=warnings)

    def render(self, result: RerankResult) -> object:
        ranked: list[RankLlmRanked] = []
        for item in result.ranking:
            candidate = self.candidates[item.index]
            docid = str(item.index + 1) if candidate.docid is None else candidate.docid
            ranked.append({"docid": docid, "score": json_score(item), "doc": candidate.sent_back()})
        query = {"text": self.query.text, "qid": self.query.qid, **(self.query.model_extra or {})}
        found: RankLlmResult = {"query": query, "candidates": ranked, "invocations_history": []}
        answer: RankLlmAnswer = {
            "schema_version": "castorini.cli.v1",
            "repo": "rank_llm",
            "command": "rerank",
            "mode": "execute",
            "status": "success",
            "exit_code": 0,
            "inputs": {"mode": "direct", "transport": "http"},
            "resolved": {"model_path": result.model, "input_mode": "direct", "transport": "http"},
            "artifacts": [{"name": "rerank-results", "kind": "data", "value": [found]}],
            "validation": {"valid": True, "record_count": 1, "errors": []},
            "metrics": {},
            "warnings": list(result.warnings),
            "errors": [],
        }
        return answer
