"""The wire shapes POST /rerank answers, in the order their bodies are told apart."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from blockrank_server.service.errors import ServiceError
from blockrank_server.service.rerank import RerankRequest, RerankResult
from blockrank_server.service.shape_cohere import CohereShape
from blockrank_server.service.shape_tei import TeiShape


class Shape(Protocol):
    """One wire shape.

    Attributes:
        name: label of the metrics.
        spelling: from the Python API's field names to this shape's, where they differ.
        inference_failed: what this shape's clients expect when the model fails.
    """

    name: ClassVar[str]
    spelling: ClassVar[Mapping[str, str]]
    inference_failed: ClassVar[type[ServiceError]]

    def matches(self, body: Mapping[str, Any]) -> bool:
        """Whether a body is of this shape, judged by its keys."""

    def parse(self, body: Mapping[str, Any]) -> RerankRequest:
        """The request in a body.

        Raises:
            InvalidFieldError: a field is missing, of the wrong type or out of range.
        """

    def render(self, result: RerankResult) -> object:
        """The response body, to be written by orjson."""

    def headers(self, result: RerankResult) -> dict[str, str]:
        """Response headers for what the body has no room for."""


# Order of protocols 1.5; the last one matches everything.
SHAPES: tuple[Shape, ...] = (TeiShape(), CohereShape())


def shape_of(body: Mapping[str, Any]) -> Shape:
    """The shape of a body."""
    return next(shape for shape in SHAPES if shape.matches(body))
