"""Reads what can be set, as SEARCH_<FIELD>."""

from pathlib import Path
from typing import Literal

import httpx
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from rerank_search.backend import SearchBackend
from rerank_search.opensearch_backend import OpenSearchBackend
from rerank_search.reranker import Reranker
from rerank_search.tantivy_backend import TantivyBackend

DATA = Path(__file__).parents[1] / "data"
# Simultaneous searches; more of them wait. Starlette's pool of threads has as many.
_MAX_CONNECTIONS = 40


class SearchSettings(BaseSettings):
    """Holds the settings of the demo's search service."""

    model_config = SettingsConfigDict(env_prefix="SEARCH_", frozen=True)

    engine: Literal["tantivy", "opensearch"] = Field("tantivy", description="First stage.")
    data: Path = Field(DATA, description="Folder with the corpus.")
    rerank_url: str = Field("http://127.0.0.1:8000", description="The blockrank-server.")
    opensearch_url: str = Field("http://127.0.0.1:9200", description="For the engine opensearch.")
    api_key: SecretStr | None = Field(None, description="If the blockrank-server wants one.")
    timeout_s: float = Field(60, gt=0, description="For reranking, with all its tries.")
    fill: bool = Field(False, description="Have documents computed when they are indexed.")
    num_candidates: int = Field(20, ge=1, le=1000, description="Documents to rerank.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, description="Port to listen on.")

    def plain_key(self) -> str | None:
        """Return the API key in plain text, as it is sent."""
        return self.api_key.get_secret_value() if self.api_key else None

    def reranker(self) -> Reranker:
        client = httpx.Client(base_url=self.rerank_url, limits=_limits())
        return Reranker(client, timeout_s=self.timeout_s, api_key=self.plain_key())

    def opensearch(self) -> OpenSearchBackend:
        client = httpx.Client(
            base_url=self.opensearch_url, timeout=self.timeout_s, limits=_limits()
        )
        return OpenSearchBackend(client)

    def backend(self) -> SearchBackend:
        """Open the search engine that was chosen; nothing is indexed yet."""
        return self.opensearch() if self.engine == "opensearch" else TantivyBackend(self.reranker())


def _limits() -> httpx.Limits:
    return httpx.Limits(max_connections=_MAX_CONNECTIONS)
