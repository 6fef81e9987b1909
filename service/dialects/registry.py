"""Lists every dialect and the paths it is spoken on, and finds a body's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blockrank_server.service.dialects.base import Dialect
from blockrank_server.service.dialects.cohere import Cohere
from blockrank_server.service.dialects.infinity import Infinity
from blockrank_server.service.dialects.mixedbread import Mixedbread
from blockrank_server.service.dialects.nvidia import Nvidia
from blockrank_server.service.dialects.pinecone import Pinecone
from blockrank_server.service.dialects.rank_llm import RankLlm
from blockrank_server.service.dialects.sglang import Sglang
from blockrank_server.service.dialects.tei import Tei
from blockrank_server.service.dialects.vllm_score import VllmScore
from blockrank_server.service.dialects.voyage import Voyage
from blockrank_server.service.dialects.weaviate import Weaviate

# Those that a body's keys and headers tell, in the order in which they are asked: a body may bear
# several marks. Cohere's has none, so it comes last and takes whatever is left.
BY_BODY: tuple[type[Dialect], ...] = (
    Nvidia,
    Mixedbread,
    RankLlm,
    Tei,
    Weaviate,
    Voyage,
    Infinity,
    Pinecone,
    VllmScore,
    Cohere,
)
DIALECTS: tuple[type[Dialect], ...] = (*BY_BODY, Sglang)


@dataclass(frozen=True, slots=True)
class Route:
    """Describes a path and the dialects that are spoken on it.

    Attributes:
        path: the one that the documentation names first.
        dialects: asked in this order whether the body matches; the last one takes all others.
        aliases: paths with the same meaning.
        methods: HTTP methods that are answered.
    """

    path: str
    dialects: tuple[type[Dialect], ...]
    aliases: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("POST",)


# Peers and hosts (SageMaker, Hugging Face) have these paths built in.
SHARED = Route(
    "/rerank",
    BY_BODY,
    ("/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking", "/invocations", "/"),
)
ROUTES = (SHARED, *(Route(d.path, (d,), d.aliases, d.methods) for d in DIALECTS))


def dialect_of(
    body: Mapping[str, Any], headers: Mapping[str, str], allowed: Sequence[type[Dialect]]
) -> type[Dialect]:
    """Return the first dialect that a body matches, else the last one allowed.

    Args:
        body: what was posted.
        headers: what came with it; Pinecone's bodies are told by a header alone.
        allowed: the dialects of the path; one alone takes every body.
    """
    return next((dialect for dialect in allowed if dialect.matches(body, headers)), allowed[-1])
