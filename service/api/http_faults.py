"""Tells what is wrong with a request's head, in words that hold no byte of it."""

import re

import h11

from blockrank_server.service.errors import BadHttpError

_TOKEN = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_VERSION = re.compile(rb"HTTP/\d\.\d")
_TLS = re.compile(rb"\x16\x03|\x80.\x01", re.DOTALL)  # a ClientHello, of SSL 2 too
_TARGETS = {
    rb"[\x80-\xff]": "The request target holds bytes outside of ASCII: percent-encode them",
    rb"[\x00-\x1f\x7f]": "The request target holds a control character: percent-encode it",
    rb" ": "The request target holds a space: write %20",
}
_OTHER = "The request line is not of the form METHOD TARGET HTTP/1.1"


def fault_of_request(request: h11.Request) -> BadHttpError | None:
    """Return what h11 reads and we do not serve."""
    if request.method == b"PRI" and request.http_version == b"2.0":
        return BadHttpError("The client speaks HTTP/2: this port speaks HTTP/1.1")
    if not request.http_version.startswith(b"1."):
        return BadHttpError("The HTTP version is neither 1.1 nor 1.0")
    names = {name for name, _ in request.headers}
    if {b"content-length", b"transfer-encoding"} <= names:
        # A proxy in front may have chosen the other one (RFC 9112, 6.3).
        return BadHttpError("Content-Length and Transfer-Encoding were both sent")
    return None


def fault_of_head(head: bytes) -> BadHttpError | None:
    """Tell what is wrong with the bytes that a request begins with, if it is their form."""
    if not head:
        return None
    if _TLS.match(head):
        return BadHttpError("The client speaks TLS: this port speaks HTTP, not HTTPS")
    first, *lines = re.split(rb"\r?\n", head)
    reason = _of_request_line(first)
    for number, line in enumerate(lines, 1):
        if reason is not None or not line:
            break
        reason = _of_header(line, number)
    return None if reason is None else BadHttpError(reason)


def _of_request_line(line: bytes) -> str | None:
    method, _, rest = line.partition(b" ")
    target, _, version = rest.rpartition(b" ")
    if not _TOKEN.fullmatch(method):
        return "The request line does not begin with a method"
    if not _VERSION.fullmatch(version):
        is_missing = rest and b" " not in rest and not rest.startswith(b"HTTP/")
        return "The request line has no HTTP version" if is_missing else _OTHER
    if not target:
        return _OTHER
    found = (reason for pattern, reason in _TARGETS.items() if re.search(pattern, target))
    return next(found, None)


def _of_header(line: bytes, number: int) -> str | None:
    name, colon, value = line.partition(b":")
    if line[:1] in (b" ", b"\t"):
        # One more line of the value above it, in the form of old (RFC 9112, 5.2).
        name, colon, value = (b"", b"", b"") if number == 1 else (b"folded", b":", line)
    if not colon:
        return f"Header line {number} has no name and colon"
    if not _TOKEN.fullmatch(name):
        return f"The name in header line {number} holds a character that no name may have"
    if re.search(rb"[\x00\r\x0b\x0c]", value):
        return f"The value in header line {number} holds a control character"
    return None
