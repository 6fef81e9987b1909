"""Lists all paths that are answered: without FastAPI's handling, and again for documentation."""

import re
from itertools import product

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from blockrank_server.service.api import openapi, probes
from blockrank_server.service.api.documents import documents
from blockrank_server.service.api.known_paths import KnownPaths
from blockrank_server.service.api.rerank import rerank_as
from blockrank_server.service.api.tokenize import tokenize
from blockrank_server.service.dialects.registry import ROUTES


class DirectRoute(Route):
    """Answers without FastAPI's handling of parameters, which nothing here uses.

    A route of GET answers HEAD, too, which one of FastAPI does not.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Adds the route for the log, as FastAPI would."""
        match, found = super().matches(scope)
        return match, {**found, "route": self}


def add_routes(app: FastAPI) -> KnownPaths:
    """Add every route but those of the documentation itself."""
    direct: list[Route] = []
    for route in ROUTES:
        handler = rerank_as(route.dialects)
        for path, method in product((route.path, *route.aliases), route.methods):
            direct.append(DirectRoute(path, handler, methods=[method]))
            app.add_api_route(  # for the documentation alone, like those below
                path,
                handler,
                methods=[method],
                operation_id=re.sub(r"\W+", "_", f"{method.lower()}{path}").strip("_"),
                response_class=Response,
                **openapi.rerank_operation(route, path),
            )
    direct.append(DirectRoute("/tokenize", tokenize, methods=["POST"]))
    app.add_api_route(
        "/tokenize",
        tokenize,
        methods=["POST"],
        response_class=Response,
        **openapi.tokenize_operation(),
    )
    for method in ("POST", "DELETE"):
        direct.append(DirectRoute("/documents", documents, methods=[method]))
        app.add_api_route(
            "/documents",
            documents,
            methods=[method],
            operation_id=f"{method.lower()}_documents",
            response_class=Response,
            **openapi.documents_operation(method),
        )
    for each in probes.router.routes:
        assert isinstance(each, APIRoute)
        direct.append(DirectRoute(each.path, each.endpoint, methods=sorted(each.methods or ())))
    app.include_router(probes.router)
    app.router.routes[:0] = direct
    openapi.add_components(app)
    return KnownPaths([*direct, *(r for r in app.router.routes if type(r) is Route)])
