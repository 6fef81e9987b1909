"""What replicas of clients that are not in Python share: exact bytes out, strict reading in."""

import gzip
import http.client
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Answer(NamedTuple):
    """A status and the body that came with it."""

    status: int
    body: bytes


def send(method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
    """One request with these headers and no others but Host and Content-Length.

    An answer in gzip is inflated, as every client does that has asked for it.
    """
    parts = urlsplit(url)
    assert parts.netloc
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    connection.putrequest(method, parts.path, skip_accept_encoding=True)
    sent = {"Content-Length": str(len(body))} if body is not None else {}
    for name, value in {**sent, **headers}.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    response = connection.getresponse()
    found = response.read()
    connection.close()
    if response.headers.get("Content-Encoding") == "gzip":
        assert "gzip" in headers.get("Accept-Encoding", "")
        found = gzip.decompress(found)
    return Answer(response.status, found)


def compact(value: object) -> str:
    """JSON as Jackson and Go write it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


class JavaDouble(NamedTuple):
    """A number with its text: json-smart gives Double only for some texts."""

    text: str

    def value(self) -> float:
        """Do as Java's cast to Double, which fails for an Integer and a BigDecimal."""
        assert "." in self.text, f"{self.text} is an Integer to json-smart"
        assert len(self.text) <= 18, f"{self.text} is a BigDecimal to json-smart"
        assert "e" not in self.text.lower()
        return float(self.text)


def read_java(body: bytes) -> Any:
    """JSON with every number that is not whole as a JavaDouble; NaN is no JSON there."""

    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(body, parse_float=JavaDouble, parse_constant=refuse)


def at_path(value: Any, path: str) -> list[Any]:
    """What a JsonPath of the form $.list[*].key finds."""
    name, _, key = path.removeprefix("$.").partition("[*].")
    return [item[key] for item in value[name]]
