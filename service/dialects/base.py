"""Defines a dialect: what a request body in it looks like, and how it is answered."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from blockrank_server.models.prompt.request import Document
from blockrank_server.service.dialects.fields import (
    AskedScoreType,
    CacheSalt,
    Count,
    MinScore,
    RequestBody,
    Side,
    TopN,
    Truncate,
)
from blockrank_server.service.dialects.request import Chunking, RerankRequest, RerankResult
from blockrank_server.service.errors import InferenceError, ServiceError

# The examples in the documentation use them.
QUERY = "capital of France"
DOCUMENTS = ("Berlin is the capital of Germany.", "Paris is the capital of France.")

_LOWERS = "Lowers the server's limit."
_SYNONYM = "Synonym of truncate."
_ONLY_RIGHT = "left is ignored with a warning: only the end is ever cut."
# Fields that other servers know and that would change an answer.
_ELSEWHERE = (*("rank_fields", "return_len", "rewrite_query", "overrides", "parameters"),)
_FALLBACK = "input_order answers 200 with the order given, instead of 429, 503 or 504."
_LONG = "chunk: too long a document has the score of its best chunk. truncate: its end is cut."
_CHUNKS = "Means chunk; a document's text behind so many is cut off."
_NO_ROOM = "an answer in this dialect has no room for it, cohere's has"
_INSTRUCTION_FIELDS = ("instruction", "instruct")
_RETURN_FIELDS = ("return_documents", "return_text", "return_input")
_INSTRUCTION = "On what is relevant. Ignored with a warning unless the model's prompt has it."
_SUMMARY = (
    "Of what the documents come from. Ignored with a warning unless the model's prompt has it."
)


def no_place(field: str) -> str:
    """Say that the model's prompt has no place for what a field holds."""
    return f"{field} is ignored: the model's prompt has no place for it"


class Dialect(RequestBody):
    """Describes one request body. These fields mean the same in every dialect.

    Attributes:
        name: its word in metrics, logs and documentation.
        peers: whose dialect it is.
        mark: what tells its bodies from others, for the documentation.
        path: where every body is taken to be in this dialect, whatever it looks like.
        aliases: paths with the same meaning.
        methods: HTTP methods that its paths answer.
        query_fields: how the query may be spelled; the first one is used in errors.
        documents_fields: how the list of documents may be spelled; likewise.
        return_field: the field that asks for the documents back, if an answer has room for them.
        always_returns: whether an answer holds the documents, asked or not.
        is_complete: whether an answer must hold every document, so that top_n and min_score have
            no meaning.
        inference_failed: the error that its clients expect when the model fails.
        answer: the type of what render returns, for the documentation.
        example: a body, for the documentation.
    """

    name: ClassVar[str]
    peers: ClassVar[str]
    mark: ClassVar[str]
    path: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    methods: ClassVar[tuple[str, ...]] = ("POST",)
    query_fields: ClassVar[tuple[str, ...]] = ("query",)
    documents_fields: ClassVar[tuple[str, ...]] = ("documents",)
    return_field: ClassVar[str | None] = None
    always_returns: ClassVar[bool] = False
    is_complete: ClassVar[bool] = False
    inference_failed: ClassVar[type[ServiceError]] = InferenceError
    answer: ClassVar[Any]
    example: ClassVar[dict[str, Any]]

    model: str | None = Field(None, description="Any name, unless the server is strict.")
    top_n: TopN | None = Field(None, description="Results to return; 0 or null for all.")
    top_k: TopN | None = Field(None, description="Synonym of top_n.")
    truncate: Truncate = None
    truncation: Truncate = Field(None, description=_SYNONYM)
    truncation_direction: Side | None = Field(None, description=_ONLY_RIGHT)
    truncation_side: Side | None = Field(None, description=_ONLY_RIGHT)
    max_tokens_per_doc: Count | None = Field(None, description=_LOWERS)
    max_tokens_per_query: Count | None = Field(None, description=_LOWERS)
    long_documents: Literal["truncate", "chunk"] | None = Field(None, description=_LONG)
    max_chunks_per_doc: Count | None = Field(None, description=_CHUNKS)
    truncate_prompt_tokens: int | None = Field(
        None, ge=-1, description="A cap per document; the query is never cut by it. -1 is no cap."
    )
    raw_scores: bool | None = Field(
        None, description="Logits, where scores are probabilities; else the model's own scores."
    )
    use_activation: bool | None = Field(None, description="false means raw_scores = true.")
    score_type: AskedScoreType | None = None
    min_score: MinScore | None = None
    instruction: str | None = Field(None, description=_INSTRUCTION)
    instruct: str | None = Field(None, description="Synonym of instruction.")
    summary: str | None = Field(None, description=_SUMMARY)
    cache_salt: CacheSalt | None = Field(None, repr=False)
    fallback: Literal["input_order"] | None = Field(None, description=_FALLBACK)

    @classmethod
    def matches(cls, body: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
        """Say whether a body bears the mark of this dialect; never, for a dialect without one."""
        return False

    @classmethod
    def spelling(cls, body: Mapping[str, Any]) -> dict[str, str]:
        """Translates the Python API's field names into those of this body."""
        return {
            "query": next(filter(body.__contains__, cls.query_fields), cls.query_fields[0]),
            "documents": next(
                filter(body.__contains__, cls.documents_fields), cls.documents_fields[0]
            ),
            "max_document_tokens": "max_tokens_per_doc",
            "max_query_tokens": "max_tokens_per_query",
        }

    @abstractmethod
    def request(self) -> RerankRequest:
        """Return what is asked for.

        Raises:
            InvalidFieldError, InputError: a field cannot be used.
        """

    @abstractmethod
    def render(self, result: RerankResult) -> object:
        """Return the response body, to be written by orjson."""

    def asking(
        self,
        query: str,
        documents: Iterable[Document],
        *,
        return_documents: bool = False,
        warnings: Iterable[str] = (),
    ) -> RerankRequest:
        """Make the request with the fields that every dialect has.

        Args:
            warnings: the dialect's own.
        """
        top_n = (self.top_n if self.top_n is not None else self.top_k) or None
        per_prompt = self.truncate_prompt_tokens or -1
        unused = tuple(self._without_effect())
        return RerankRequest(
            query=query,
            documents=tuple(documents),
            top_n=None if self.is_complete else top_n,
            return_documents=return_documents,
            raw_scores=bool(self.raw_scores) or self.use_activation is False,
            score_type=self.score_type,
            min_score=None if self.is_complete else self.min_score,
            truncate="NONE" not in (self.truncate, self.truncation),
            max_document_tokens=self.max_tokens_per_doc or (per_prompt if per_prompt > 0 else None),
            max_query_tokens=self.max_tokens_per_query,
            chunking=self._chunking(),
            model=self.model,
            summary=self.summary or "",
            instruction=self.instruction or self.instruct or "",
            instruction_fields=tuple(f for f in _INSTRUCTION_FIELDS if getattr(self, f)),
            cache_salt=self.cache_salt or "",
            fallback=self.fallback,
            ignored_fields=(*(self.model_extra or ()), *(field for field, _ in unused)),
            warnings=(
                *(sentence for _, sentence in unused),
                *self._contradictions(),
                *self._not_here(),
                *warnings,
            ),
        )

    def _chunking(self) -> Chunking | None:
        if self.long_documents == "chunk":
            return Chunking("long_documents", self.max_chunks_per_doc)
        if self.long_documents is None and self.max_chunks_per_doc is not None:
            return Chunking("max_chunks_per_doc", self.max_chunks_per_doc)
        return None

    def _without_effect(self) -> Iterator[tuple[str, str]]:
        """Yield known fields that were given and change nothing, each with a sentence."""
        for field in ("top_n", "top_k", "min_score"):
            if self.is_complete and getattr(self, field):
                yield field, f"{field} is ignored: an answer in this dialect holds every document"
        sides = {"truncate": "START", "truncation": "START"}
        sides |= {"truncation_direction": "left", "truncation_side": "left"}
        for field, side in sides.items():
            if getattr(self, field) == side:
                yield field, f"{field} {side} is ignored: only the end of a text is ever cut"

    def _contradictions(self) -> Iterator[str]:
        """Yield a sentence for each field that another field with the same meaning overrules."""
        if self.top_n is not None and self.top_k not in (None, self.top_n) and not self.is_complete:
            yield "top_k is ignored: top_n is given"
        cap = self.truncate_prompt_tokens or -1
        if self.max_tokens_per_doc is not None and cap not in (-1, self.max_tokens_per_doc):
            yield "truncate_prompt_tokens is ignored: max_tokens_per_doc is given"
        if self.long_documents == "truncate" and self.max_chunks_per_doc is not None:
            yield "max_chunks_per_doc is ignored: long_documents is truncate"
        if self.instruction and self.instruct not in (None, "", self.instruction):
            yield "instruct is ignored: instruction is given"
        if self.raw_scores and self.score_type is not None:
            yield "raw_scores is ignored: score_type is given"
        if self.raw_scores is True and self.use_activation is True:
            yield "use_activation true is ignored: raw_scores is true"
        if self.raw_scores is False and self.use_activation is False:
            yield "raw_scores false is ignored: use_activation is false"
        for field, other in (("truncate", "truncation"), ("truncation", "truncate")):
            if getattr(self, other) == "NONE" and getattr(self, field) not in (None, "NONE"):
                yield f"{field} is ignored: {other} says that nothing may be cut"

    def _not_here(self) -> Iterator[str]:
        """Yield a sentence for each field that would change the answer of another server."""
        extra = self.model_extra or {}
        for field in _ELSEWHERE:
            if extra.get(field):
                yield f"{field} is ignored: it has no effect here"
        for field in ("explain", "stream"):
            if extra.get(field):
                yield f"{field} is ignored: {_NO_ROOM}"
        for field in _RETURN_FIELDS:
            if extra.get(field) is None or bool(extra[field]) is self.always_returns:
                continue
            if self.return_field:
                yield f"{field} is ignored: {self.return_field} is read"
            elif self.always_returns:
                yield f"{field} is ignored: an answer in this dialect holds the documents"
            else:
                yield f"{field} is ignored: an answer in this dialect holds no documents"
