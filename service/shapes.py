"""Every wire shape, and how a body's own is found."""

from collections.abc import Mapping, Sequence
from typing import Any

from blockrank_server.service.shape import Shape
from blockrank_server.service.shape_cohere import Cohere
from blockrank_server.service.shape_tei import Tei

# In the order in which a body is asked whether it matches (protocols 1.5).
BY_BODY: tuple[type[Shape], ...] = (Tei, Cohere)
SHAPES: tuple[type[Shape], ...] = BY_BODY


def shape_of(
    body: Mapping[str, Any], headers: Mapping[str, str], allowed: Sequence[type[Shape]]
) -> type[Shape]:
    """The first shape that a body matches, else the last one allowed.

    Args:
        body: of a request.
        headers: of the same request.
        allowed: on its path; one alone takes every body.
    """
    return next((shape for shape in allowed if shape.matches(body, headers)), allowed[-1])
