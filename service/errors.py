"""Defines what a caller can be told, in its HTTP form: one class a reason, one flat body for all.

ServiceError
├── BadJsonError 400           EmptyFieldError 400       InvalidFieldError 422
├── BadGzipError 400           BadHttpError 400          UnauthorizedError 401
├── UnknownPathError 404       UnknownModelError 404     MethodNotAllowedError 405
├── BodyTooLargeError 413      UnsupportedEncodingError 415   HeadTooLargeError 431
├── OverloadedError 429        KeyLimitError 429         DeadlineTooShortError 422
├── LoadingError 503 ── EngineUnreachableError 503       DrainingError 503         DeadlineError 504
└── ModelUnavailableError 503  InternalError 500         InferenceError 500 ── BackendError 424
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, NotRequired

import orjson
from pydantic import Field
from starlette.responses import Response
from typing_extensions import TypedDict


class ErrorBody(TypedDict):
    """Describes one flat body for every dialect: each client finds the field it looks for."""

    error: str
    error_type: Annotated[str, Field(description="TEI's name for the kind of error.")]
    message: str
    detail: str
    object: str
    type: Annotated[str, Field(description="OpenAI's name for the kind of error.")]
    param: Annotated[str | None, Field(description="The field at fault.")]
    code: Annotated[int, Field(description="The status.")]
    request_id: str
    errors: NotRequired[list[dict[str, Any]]]


class ServiceError(Exception):
    """Tells of a failure that the caller can act on.

    Args:
        message: one sentence; for a field it names the field, the limit and the value.
        field: the field at fault as the caller spells it.
        errors: [{loc, msg, type}], where more than one field is at fault.
        retry_after_s: seconds until another try makes sense; sent rounded up, at least 1.

    Attributes:
        openai_type: OpenAI's name for the kind of error, as error_type is TEI's.
        reason: label of rerank_rejected_total.
    """

    status: ClassVar[int] = 500
    error_type: ClassVar[str] = "Backend"
    openai_type: ClassVar[str] = "server_error"
    reason: ClassVar[str] = "internal"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        errors: Sequence[Mapping[str, object]] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.field = field
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s

    def headers(self) -> dict[str, str]:
        if self.retry_after_s is None:
            return {}
        return {"Retry-After": str(max(1, math.ceil(self.retry_after_s)))}

    def body(self, request_id: str) -> ErrorBody:
        """Return the error as every known client can read it."""
        message = str(self)
        body: ErrorBody = {
            "error": message,
            "error_type": self.error_type,
            "message": message,
            "detail": message,
            "object": "error",
            "type": self.openai_type,
            "param": self.field,
            "code": self.status,
            "request_id": request_id,
        }
        if self.errors:
            body["errors"] = [dict(fault) for fault in self.errors]
        return body

    def response(self, request_id: str) -> Response:
        body = orjson.dumps(self.body(request_id))
        return Response(body, self.status, self.headers(), media_type="application/json")


class _RequestError(ServiceError):
    status, error_type, openai_type, reason = 422, "Validation", "invalid_request_error", "invalid"


class _BadRequestError(_RequestError):
    status = 400


class BadJsonError(_BadRequestError):
    """The body is not a JSON object."""


class BadGzipError(_BadRequestError):
    """The body is not the gzip that Content-Encoding says it is."""


class BadHttpError(_BadRequestError):
    """The request breaks a rule of HTTP; the message says which."""


class HeadTooLargeError(_RequestError):
    """The request line and the headers are too long."""

    status, reason = 431, "too_large"


class UnauthorizedError(ServiceError):
    """No API key was sent, or one that is not in force."""

    status, error_type = 401, "Unauthorized"
    openai_type, reason = "authentication_error", "unauthorized"

    def headers(self) -> dict[str, str]:
        return super().headers() | {"WWW-Authenticate": "Bearer"}


class EmptyFieldError(_BadRequestError):
    """The query is empty, or there are no documents."""

    error_type = "Empty"


class InvalidFieldError(_RequestError):
    """A field is of the wrong type or out of range."""


class DeadlineTooShortError(_RequestError):
    """The request cannot meet its deadline even alone on an idle server: another try is useless."""

    reason = "deadline_too_short"


class UnknownPathError(_RequestError):
    """There is no such path."""

    status, error_type, openai_type, reason = 404, "NotFound", "not_found_error", "not_found"


class UnknownModelError(UnknownPathError):
    """Another model than the one served was named, with strict_model on."""


class MethodNotAllowedError(_RequestError):
    """The path exists, with another method."""

    status, error_type, reason = 405, "NotFound", "not_found"


class BodyTooLargeError(_RequestError):
    """The body has more than max_body_bytes."""

    status, reason = 413, "too_large"


class UnsupportedEncodingError(_RequestError):
    """Content-Encoding is neither gzip nor identity."""

    status = 415

    def headers(self) -> dict[str, str]:
        return super().headers() | {"Accept-Encoding": "gzip"}  # RFC 9110, 15.5.16


class OverloadedError(ServiceError):
    """The queue is full, or too slow for the deadline. Retry-After says when to try again."""

    # 429 and not 503, which some clients do not retry and others wait on.
    status, error_type, openai_type, reason = 429, "Overloaded", "rate_limit_error", "overloaded"

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("Model is overloaded", retry_after_s=retry_after_s)


class KeyLimitError(ServiceError):
    """The API key has max_concurrent_requests_per_key concurrent requests."""

    status, error_type, openai_type, reason = 429, "Overloaded", "rate_limit_error", "key_limit"


class _UnavailableError(ServiceError):
    status, error_type, openai_type = 503, "Unhealthy", "service_unavailable_error"


class LoadingError(_UnavailableError):
    """The model is not ready yet."""

    reason = "loading"


class DrainingError(_UnavailableError):
    """The server is shutting down."""

    reason = "draining"

    def __init__(self) -> None:
        super().__init__("Server is shutting down", retry_after_s=1)


class ModelUnavailableError(_UnavailableError):
    """The model could not be loaded, or its thread has died. Only a restart helps."""

    reason = "unavailable"


class DeadlineError(ServiceError):
    """There was no answer in time."""

    status, error_type, openai_type, reason = 504, "Timeout", "timeout_error", "deadline"


class InternalError(ServiceError):
    """The server has a fault outside of the model."""


class InferenceError(ServiceError):
    """The model raised, or gave something else than one finite score a document."""

    reason = "inference"


class BackendError(InferenceError):
    """The model failed. This status is for the dialect tei only, whose clients expect it."""

    status = 424


def all_errors(root: type[ServiceError] = ServiceError) -> list[type[ServiceError]]:
    """Return every public class below root, so that docs, metrics and tests cannot miss one."""
    kinds = root.__subclasses__()
    public = [kind for kind in kinds if not kind.__name__.startswith("_")]
    return [*public, *(each for kind in kinds for each in all_errors(kind))]
