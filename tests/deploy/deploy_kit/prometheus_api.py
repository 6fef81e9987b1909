"""What is asked of a running Prometheus, over its HTTP API."""

import math
from typing import Any, NamedTuple, Self

import httpx


class QueryError(Exception):
    """Prometheus refused a query; the text is its own."""


class Line(NamedTuple):
    """One series of a result.

    Attributes:
        labels: those of the series.
        points: (seconds since 1970, value), the value never NaN.
    """

    labels: dict[str, str]
    points: list[tuple[float, float]]


class PrometheusApi:
    """A Prometheus server; a context manager.

    Args:
        url: such as http://localhost:9090.
    """

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.close()

    def data(self, path: str, **parameters: str | float) -> Any:
        """The data part of GET /api/v1/<path>.

        Raises:
            QueryError: the query is wrong.
            httpx.HTTPError: there is no answer.
        """
        body = self._client.get(f"/api/v1/{path}", params=parameters).json()
        if body["status"] != "success":
            raise QueryError(f"{body['error']} {parameters}")
        return body["data"]

    def at(self, expr: str, time_s: float) -> list[Line]:
        """Result of an expression at one moment; series whose value is NaN are left out."""
        data = self.data("query", query=expr, time=time_s)
        if data["resultType"] == "scalar":
            return _lines([{"metric": {}, "values": [data["result"]]}])
        return _lines([{**each, "values": [each["value"]]} for each in data["result"]])

    def over(self, expr: str, start_s: float, end_s: float, step_s: float) -> list[Line]:
        """Result of an expression over time; NaNs and series of nothing else are left out."""
        data = self.data("query_range", query=expr, start=start_s, end=end_s, step=step_s)
        return _lines(data["result"])


def _lines(result: list[dict[str, Any]]) -> list[Line]:
    found = []
    for each in result:
        points = [(float(time_s), float(value)) for time_s, value in each["values"]]
        if known := [point for point in points if not math.isnan(point[1])]:
            found.append(Line(each["metric"], known))
    return found
