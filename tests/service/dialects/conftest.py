"""What a shape answers, without a server."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pytest

from blockrank_server.service.dialects.base import Shape
from blockrank_server.service.dialects.request import Ranked, RerankResult


@pytest.fixture
def wire_bytes() -> Callable[..., bytes]:
    """A shape's answer to a body whose documents have the scores given; created at 1."""

    def answer(
        shape: type[Shape],
        body: Mapping[str, Any],
        *scores: str,
        warnings: tuple[str, ...] = (),
    ) -> bytes:
        wire = shape.read(body)
        request = wire.request()
        ranking = [Ranked(index, score) for index, score in enumerate(scores)]
        ranking.sort(key=lambda ranked: -float(ranked.score))
        result = RerankResult(
            request, "an-id", tuple(ranking[: request.top_n]), "m", num_tokens=9, warnings=warnings
        )
        return re.sub(rb'"created":\d+', b'"created":1', orjson.dumps(wire.render(result)))

    return answer
