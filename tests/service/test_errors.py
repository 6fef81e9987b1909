import orjson
import pytest

from blockrank_server.service.errors import (
    BackendError,
    BadGzipError,
    BadHttpError,
    BadJsonError,
    BodyTooLargeError,
    DeadlineError,
    DeadlineTooShortError,
    DrainingError,
    EmptyFieldError,
    HeadTooLargeError,
    InferenceError,
    InternalError,
    InvalidFieldError,
    KeyLimitError,
    LoadingError,
    MethodNotAllowedError,
    ModelUnavailableError,
    OverloadedError,
    ServiceError,
    UnauthorizedError,
    UnknownModelError,
    UnknownPathError,
    UnsupportedEncodingError,
    all_errors,
)
from blockrank_server.service.scheduler.engine_faults import EngineUnreachableError

# Status and kind of every error, said a second time: clients rely on them.
TABLE: dict[type[ServiceError], tuple[int, str]] = {
    BadGzipError: (400, "Validation"),
    BadHttpError: (400, "Validation"),
    UnauthorizedError: (401, "Unauthorized"),
    UnsupportedEncodingError: (415, "Validation"),
    KeyLimitError: (429, "Overloaded"),
    BadJsonError: (400, "Validation"),
    EmptyFieldError: (400, "Empty"),
    InvalidFieldError: (422, "Validation"),
    DeadlineTooShortError: (422, "Validation"),
    UnknownPathError: (404, "NotFound"),
    UnknownModelError: (404, "NotFound"),
    MethodNotAllowedError: (405, "NotFound"),
    BodyTooLargeError: (413, "Validation"),
    HeadTooLargeError: (431, "Validation"),
    OverloadedError: (429, "Overloaded"),
    LoadingError: (503, "Unhealthy"),
    EngineUnreachableError: (503, "Unhealthy"),
    DrainingError: (503, "Unhealthy"),
    ModelUnavailableError: (503, "Unhealthy"),
    DeadlineError: (504, "Timeout"),
    InternalError: (500, "Backend"),
    InferenceError: (500, "Backend"),
    BackendError: (424, "Backend"),
}


def make(kind: type[ServiceError]) -> ServiceError:
    if kind is OverloadedError:
        return OverloadedError(0.2)
    if kind is EngineUnreachableError:
        return EngineUnreachableError("a reason")
    return DrainingError() if kind is DrainingError else kind("a reason", field="query")


def test_the_table_is_complete() -> None:
    assert set(all_errors()) == set(TABLE)


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
def test_the_body_has_what_each_client_reads(kind: type[ServiceError]) -> None:
    error = make(kind)
    response = error.response("an-id")
    body = orjson.loads(bytes(response.body))
    status, error_type = TABLE[kind]
    assert response.status_code == status
    assert response.media_type == "application/json"
    assert list(body) == [
        *("error", "error_type", "message", "detail", "object", "type", "param", "code"),
        "request_id",
    ]
    assert body["error"] == body["message"] == body["detail"] == str(error) != ""
    assert (body["error_type"], body["code"], body["object"]) == (error_type, status, "error")
    assert isinstance(body["type"], str)
    assert body["request_id"] == "an-id"


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
def test_every_class_is_described_and_has_a_label(kind: type[ServiceError]) -> None:
    assert kind.__doc__
    assert kind.reason.isidentifier()


@pytest.mark.parametrize(
    ("seconds", "header"), [(0.0, "1"), (0.5, "1"), (1.0, "1"), (1.01, "2"), (30.0, "30")]
)
def test_retry_after_is_a_whole_number_of_at_least_one(seconds: float, header: str) -> None:
    assert OverloadedError(seconds).headers() == {"Retry-After": header}


def test_without_a_time_there_is_no_retry_after() -> None:
    assert InvalidFieldError("no").headers() == {}


def test_faults_are_listed_if_there_are_any() -> None:
    error = InvalidFieldError("no", errors=[{"loc": ["query"], "msg": "no", "type": "missing"}])
    assert error.body("i")["errors"] == [{"loc": ["query"], "msg": "no", "type": "missing"}]
