"""What a dialect answers, without a server."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pytest

from blockrank_server.service.dialects.base import Dialect
from blockrank_server.service.dialects.request import Ranked, RerankResult


@pytest.fixture
def answer_bytes() -> Callable[..., bytes]:
    """A dialect's answer to a body whose documents have the scores given; created at 1."""

    def answer(
        dialect: type[Dialect],
        body: Mapping[str, Any],
        *scores: str,
        warnings: tuple[str, ...] = (),
    ) -> bytes:
        parsed = dialect.read(body)
        request = parsed.request()
        ranking = [Ranked(index, score) for index, score in enumerate(scores)]
        ranking.sort(key=lambda ranked: -float(ranked.score))
        result = RerankResult(
            request, "an-id", tuple(ranking[: request.top_n]), "m", num_tokens=9, warnings=warnings
        )
        return re.sub(rb'"created":\d+', b'"created":1', orjson.dumps(parsed.render(result)))

    return answer
