"""Makes what OpenSearch needs to rerank with a blockrank-server; it can be run again and again.

It makes four things: cluster settings that allow the call, an ml-commons connector, a remote model
on it, and a search pipeline with that model. Connector and model carry a name made of the
connector's content: the same content is found again, other content gets new ones, and the pipeline
moves over.
"""

import hashlib
import re
from typing import Any

import orjson

from rerank_search.opensearch_backend import (
    PIPELINE,
    RERANKED_FIELD,
    NotThereError,
    OpenSearchBackend,
)

_PREDICT_BODY = (
    '{"model": "${parameters.model}", "query": "${parameters.query}", '
    '"documents": ${parameters.documents}, "top_n": ${parameters.top_n}}'
)


def set_up(opensearch: OpenSearchBackend, *, rerank_url: str, api_key: str | None) -> str:
    """Make searches of OpenSearch's pipeline be reranked.

    Args:
        opensearch: has the base URL of the cluster.
        rerank_url: the URL of the blockrank-server, as seen from OpenSearch.
        api_key: the key, if that server wants one; OpenSearch keeps it encrypted.

    Returns:
        Id of the model in ml-commons.

    Raises:
        SearchError: OpenSearch refused or cannot be reached.
    """
    opensearch.ask("PUT", "/_cluster/settings", body=_settings(rerank_url))
    connector = connector_for(rerank_url, api_key)
    name = connector["name"]
    connector_id = _find(opensearch, "connectors", name)
    if connector_id is None:
        made = opensearch.ask("POST", "/_plugins/_ml/connectors/_create", body=connector)
        connector_id = made["connector_id"]
    model_id = _find(opensearch, "models", name)
    if model_id is None:
        model = {"name": name, "function_name": "remote", "connector_id": connector_id}
        made = opensearch.ask("POST", "/_plugins/_ml/models/_register", body=model)
        model_id = made["model_id"]
    opensearch.ask("POST", f"/_plugins/_ml/models/{model_id}/_deploy")
    opensearch.ask("PUT", f"/_search/pipeline/{PIPELINE}", body=_pipeline(model_id))
    return str(model_id)


def connector_for(rerank_url: str, api_key: str | None) -> dict[str, Any]:
    """Describe the connector of deploy/clients.md at an address; its name tells its content."""
    # ml-commons wants a credential that is not empty; a server without keys ignores it.
    connector: dict[str, Any] = {
        "version": "1",
        "description": "blockrank-server",
        "protocol": "http",
        "parameters": {"model": "default"},
        "credential": {"key": api_key or "none"},
        "actions": [
            {
                "action_type": "predict",
                "method": "POST",
                "url": f"{rerank_url}/cohere/v2/rerank",
                "headers": {"Authorization": "Bearer ${credential.key}"},
                "pre_process_function": "connector.pre_process.cohere.rerank",
                "request_body": _PREDICT_BODY,
                "post_process_function": "connector.post_process.cohere.rerank",
            }
        ],
    }
    content = hashlib.sha256(orjson.dumps(connector)).hexdigest()[:12]
    return {"name": f"blockrank-{content}", **connector}


def _settings(rerank_url: str) -> dict[str, Any]:
    return {
        "persistent": {
            # One node for all roles is enough for a demo.
            "plugins.ml_commons.only_run_on_ml_node": False,
            "plugins.ml_commons.connector.private_ip_enabled": True,
            "plugins.ml_commons.trusted_connector_endpoints_regex": [
                f"^{re.escape(rerank_url)}/.*$"
            ],
        }
    }


def _pipeline(model_id: str) -> dict[str, Any]:
    rerank = {
        "ml_opensearch": {"model_id": model_id},
        "context": {"document_fields": [RERANKED_FIELD]},
    }
    return {"response_processors": [{"rerank": rerank}]}


def _find(opensearch: OpenSearchBackend, kind: str, name: str) -> str | None:
    query = {"query": {"term": {"name.keyword": name}}, "size": 1}
    try:
        found = opensearch.ask("POST", f"/_plugins/_ml/{kind}/_search", body=query)
    except NotThereError:  # ml-commons makes its index with the first entry
        return None
    hits = found["hits"]["hits"]
    return str(hits[0]["_id"]) if hits else None
