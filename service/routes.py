"""Which paths take bodies of which shapes."""

from dataclasses import dataclass

from blockrank_server.service.shape import Shape
from blockrank_server.service.shape_cohere import Cohere
from blockrank_server.service.shape_infinity import Infinity
from blockrank_server.service.shape_mixedbread import Mixedbread
from blockrank_server.service.shape_nvidia import Nvidia
from blockrank_server.service.shape_pinecone import Pinecone
from blockrank_server.service.shape_rank_llm import RankLlm
from blockrank_server.service.shape_sglang import Sglang
from blockrank_server.service.shape_tei import Tei
from blockrank_server.service.shape_vllm_score import VllmScore
from blockrank_server.service.shape_voyage import Voyage
from blockrank_server.service.shape_weaviate import Weaviate
from blockrank_server.service.shapes import BY_BODY


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
