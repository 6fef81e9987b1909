"""Every wire shape, and how a body's own is found."""

from collections.abc import Mapping, Sequence
from typing import Any

from blockrank_server.service.dialects.base import Shape
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

# In the order in which a body is asked whether it matches (protocols 1.5).
BY_BODY: tuple[type[Shape], ...] = (
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
SHAPES: tuple[type[Shape], ...] = (*BY_BODY, Sglang)


def shape_of(
    body: Mapping[str, Any], headers: Mapping[str, str], allowed: Sequence[type[Shape]]
) -> type[Shape]:
    """The first shape that a body matches, else the last one allowed.

    Args:
        body: of a request.
        headers: of the same request.
        allowed: on its path; one alone takes every body.
    """
    return next((shape for shape in allowed if shape.matches(body, headers)), allowed[-1])
