"""Answers with errors: ours, and Starlette's, of paths and methods that there are not."""

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from blockrank_server.service.api import docs_page
from blockrank_server.service.api.known_paths import KnownPaths
from blockrank_server.service.errors import (
    MethodNotAllowedError,
    ServiceError,
    UnknownPathError,
)
from blockrank_server.service.middleware.request_target import allow


def add_problem_handlers(app: FastAPI, paths: KnownPaths) -> None:
    """Have every error answered in our form."""

    async def missed(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            return await _not_allowed(request, error, paths)
        return await _problem(request, _unknown(request, paths))

    app.add_exception_handler(ServiceError, _problem)
    app.add_exception_handler(HTTPException, missed)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)  # the registration guarantees it
    request.state.record.reason = error.reason
    return error.response(request.state.record.request_id)


async def _not_allowed(request: Request, error: HTTPException, paths: KnownPaths) -> Response:
    """Return a 405 that lists the methods, or the same list as the answer to OPTIONS."""
    of_route = (error.headers or {}).get("Allow", "GET, HEAD").split(", ")
    methods = paths.methods_at(_path(request)) or (*of_route, "OPTIONS")
    if request.method == "OPTIONS":
        return allow(Response(status_code=204), methods)
    listed = ", ".join(methods)
    problem = MethodNotAllowedError(f"The path does not take this method; it takes {listed}")
    return allow(await _problem(request, problem), methods)


def _unknown(request: Request, paths: KnownPaths) -> UnknownPathError:
    if (near := paths.nearest(_path(request), request.method)) is not None:
        return UnknownPathError(f"No such path; did you mean {_prefix(request)}{near}?")
    if request.app.openapi_url is None:
        return UnknownPathError("No such path")
    return UnknownPathError(f"No such path; {_prefix(request)}{docs_page.PATH} lists all")


def _prefix(request: Request) -> str:
    """Return what stands in front of every path of this app."""
    prefix: str = request.state.root_path
    return prefix


def _path(request: Request) -> str:
    path: str = request.scope["path"]
    return path.removeprefix(_prefix(request)) or "/"
