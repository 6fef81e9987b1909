"""Bodies made from the OpenAPI document by schemathesis, those it allows and those it does not."""

import json
from typing import TYPE_CHECKING, Any

import requests
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.transport import Response
from schemathesis.specs.openapi import checks as openapi_checks

if TYPE_CHECKING:
    from tests.service.fuzz.conftest import Answer, Fuzzed

# Only answers are held against the document: what we read is wider (true as "true", any unknown
# field), and some of what a schema allows is refused (a blank query).
CHECKS = [
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.status_code_conformance,
]


def as_response(case: Any, answer: "Answer") -> Response:
    headers = {name: [value] for name, value in answer.headers.items()}
    request = requests.Request(case.method, f"http://localhost{case.formatted_path}").prepare()
    return Response(answer.status, headers, answer.body, request, elapsed=0.0, verify=True)


def ask(fuzzed: "Fuzzed", case: Any) -> None:
    kwargs = case.as_transport_kwargs(base_url="http://localhost")
    sent = requests.Request(
        case.method, kwargs["url"], json=kwargs.get("json"), data=kwargs.get("data")
    ).prepare()
    body = sent.body if isinstance(sent.body, bytes) else (sent.body or "").encode()
    headers = [(name.encode(), value.encode()) for name, value in sent.headers.items()]
    answer = fuzzed.ask("openapi", case.method, case.formatted_path, headers, [body])
    case.validate_response(as_response(case, answer), checks=CHECKS)


def test_every_operation_answers_as_documented(fuzzed: "Fuzzed") -> None:
    document = json.loads(json.dumps(fuzzed.app.openapi()))
    schema = schemathesis.openapi.from_dict(document)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 30
    # Those without a body have few cases, and end early.
    num_with_body = sum(operation.method in ("post", "put") for operation in operations)
    assert num_with_body > 20
    for operation in operations:
        modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        cases = st.one_of([operation.as_strategy(mode) for mode in modes])

        @fuzzed.examples(0.5 / num_with_body)
        @given(case=cases)
        def run(case: Any) -> None:
            ask(fuzzed, case)

        run()
