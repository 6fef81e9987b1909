"""Which paths take bodies of which shapes."""

from dataclasses import dataclass

from blockrank_server.service.dialects.base import Shape
from blockrank_server.service.dialects.cohere import Cohere
from blockrank_server.service.dialects.infinity import Infinity
from blockrank_server.service.dialects.mixedbread import Mixedbread
from blockrank_server.service.dialects.nvidia import Nvidia
from blockrank_server.service.dialects.pinecone import Pinecone
from blockrank_server.service.dialects.rank_llm import RankLlm
from blockrank_server.service.dialects.sglang import Sglang
from blockrank_server.service.dialects.shapes import BY_BODY
from blockrank_server.service.dialects.tei import Tei
from blockrank_server.service.dialects.vllm_score import VllmScore
from blockrank_server.service.dialects.voyage import Voyage
from blockrank_server.service.dialects.weaviate import Weaviate


@dataclass(frozen=True, slots=True)
class Route:
    """A path and the shapes it takes.

    Attributes:
        path: that the documentation names first.
        shapes: asked in this order whether the body matches; the last one is that of all others.
        aliases: paths with the same meaning.
        methods: of HTTP.
    """

    path: str
    shapes: tuple[type[Shape], ...]
    aliases: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("POST",)


# Paths that peers and hosts (SageMaker, Hugging Face) know by heart; then one path for each shape,
# where a prefix is the only way to tell it from another.
ROUTES = (
    Route(
        "/rerank",
        BY_BODY,
        ("/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking", "/invocations", "/"),
    ),
    Route("/cohere/v2/rerank", (Cohere,), ("/cohere/v1/rerank",)),
    Route("/infinity/rerank", (Infinity,)),
    Route("/tei/rerank", (Tei,)),
    Route("/weaviate/rerank", (Weaviate,)),
    Route("/v1/ranking", (Nvidia,), ("/ranking", "/v1/retrieval/{rest:path}/reranking")),
    Route("/voyage/v1/rerank", (Voyage,)),
    Route("/mixedbread/v1/reranking", (Mixedbread,)),
    Route("/sglang/v1/rerank", (Sglang,), methods=("POST", "PUT")),
    Route("/rank_llm/v1/rerank", (RankLlm,)),
    Route("/v1/score", (VllmScore,), ("/score",)),
    Route("/pinecone/rerank", (Pinecone,)),
)
