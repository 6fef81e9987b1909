"""Bodies, headers, methods and paths that no document describes."""

import gzip
import json
import zlib
from typing import TYPE_CHECKING, Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from blockrank_server.service.dialects.registry import DIALECTS, ROUTES

if TYPE_CHECKING:
    from tests.service.fuzz.conftest import Fuzzed

Headers = list[tuple[bytes, bytes]]

PATHS = [path.replace("{rest:path}", "a/b") for r in ROUTES for path in (r.path, *r.aliases)]
OWN_PATHS = {r.dialects[0]: r.path for r in ROUTES if len(r.dialects) == 1}
QUERIES = sorted({name for dialect in DIALECTS for name in dialect.query_fields})
DOCUMENTS = sorted({name for dialect in DIALECTS for name in dialect.documents_fields})
OPTIONS = sorted(
    {name for dialect in DIALECTS for name in dialect.model_json_schema()["properties"]}
)
SCORES = ("score", "relevance_score", "logit")
SENT_BACK = ("document", "doc", "input")  # a caller's document may hold a score of its own

NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 2**31, 2**63, 2**64, -0.0, 1e308])
TEXT = st.text(max_size=20) | st.sampled_from(["", " ", "\x00", "\ud800", "﻿", "a b " * 40])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from(["text", "title", "doc", "docid", "a"]), JSON)
LISTS = st.lists(TEXT, max_size=5) | st.lists(OBJECTS | TEXT | JSON, max_size=4)
FIELDS = st.sampled_from([*OPTIONS, "x", "inputs", "prompt"])
LIKELY: st.SearchStrategy[Any] = st.builds(
    lambda query, documents, options: options | query | documents,
    st.dictionaries(st.sampled_from(QUERIES), TEXT, min_size=1, max_size=2),
    st.dictionaries(st.sampled_from(DOCUMENTS), LISTS, min_size=1, max_size=2),
    st.dictionaries(FIELDS, JSON, max_size=3),
)
WORDS = st.lists(st.sampled_from(["a", "b", "<&>", "日本", "\u2028", "{x}"]), min_size=1).map(
    " ".join
)
SETTINGS = st.none() | st.booleans() | st.integers(0, 60) | st.sampled_from(["END", "none", "left"])


def near(query: str, documents: str) -> st.SearchStrategy[Any]:
    """Bodies of one spelling that are often right."""
    items = st.lists(WORDS | TEXT, min_size=1, max_size=6) | st.lists(OBJECTS | WORDS, min_size=1)
    body: dict[str, Any] = {query: WORDS, documents: items}
    return st.builds(
        dict.__or__, st.dictionaries(FIELDS, SETTINGS, max_size=2), st.fixed_dictionaries(body)
    )


NEAR = st.one_of(
    [
        near(query, documents)
        for dialect in DIALECTS
        for query in dialect.query_fields
        for documents in dialect.documents_fields
    ]
)
TOKENIZE = st.dictionaries(st.sampled_from(["inputs", "prompt"]), TEXT | st.lists(TEXT), min_size=1)
ANY = st.dictionaries(FIELDS | TEXT, JSON, max_size=5) | JSON
EXAMPLES = st.sampled_from([dialect.example for dialect in DIALECTS])


def written(value: Any, encoding: str) -> bytes:
    """JSON as Python writes it: NaN and Infinity too, and halves of surrogate pairs."""
    return json.dumps(value, ensure_ascii=encoding == "ascii").encode(encoding, "surrogatepass")


def damaged(body: bytes, at: int, cut: int, piece: bytes) -> bytes:
    at %= len(body) + 1
    return body[:at] + piece + body[at + cut :]


def nested(levels: int, kind: tuple[bytes, bytes], field: bytes) -> bytes:
    """A document that holds others, in a body that asks for it back."""
    deep = kind[0] * levels + b"0" + kind[1] * levels
    items = b'[{"text":"q","a":' + deep + b'},{"a":' + deep + b"}," + deep + b"]"
    options = b',"return_documents":true,"return_input":true,"rank_fields":["a"]}'
    return b'{"query":"q","' + field + b'":' + items + options


BODIES = st.builds(
    written,
    NEAR | LIKELY | TOKENIZE | ANY | EXAMPLES,
    st.sampled_from(["utf-8", "utf-8", "ascii", "utf-8-sig", "utf-16"]),
)
RAW = (
    st.builds(written, NEAR, st.just("utf-8"))
    | BODIES
    | st.builds(damaged, BODIES, st.integers(0, 500), st.integers(0, 9), st.binary(max_size=4))
    | st.binary(max_size=40)
    | st.builds(
        nested,
        st.integers(0, 70) | st.integers(0, 3000),
        st.sampled_from([(b"[", b"]"), (b'{"a":', b"}"), (b'{"text":', b"}"), (b"[", b"")]),
        st.sampled_from([name.encode() for name in DOCUMENTS]),
    )
    | st.integers(0, 120_000).map(lambda size: b'{"query":"' + b"q" * size + b'","texts":["x"]}')
)
JUNK = st.binary(max_size=30).filter(lambda value: not set(value) & set(b"\r\n\x00"))
NAMES = st.sampled_from(
    [
        *(b"accept", b"accept-encoding", b"api-key", b"authorization", b"content-encoding"),
        *(b"content-length", b"content-type", b"cookie", b"expect", b"origin", b"range"),
        *(b"traceparent", b"x-pinecone-api-version", b"x-request-id", b"x-request-timeout-ms"),
    ]
)
VALUES = JUNK | st.sampled_from(
    [
        *(b"gzip", b"identity", b"x-gzip", b"deflate", b"br", b"gzip, gzip", b"gzip;q=0", b"*"),
        *(b"0", b"1", b"-1", b"8000", b"99999999999999999999", b"1e3", b"\xb2", b"text/plain"),
        *(b"application/json", b"application/json; charset=utf-16", b"bytes=0-1", b"a" * 200),
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ]
)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=4)
COMPRESSED = st.sampled_from(
    [
        gzip.compress,
        lambda body: gzip.compress(body)[:-5],
        lambda body: gzip.compress(body) * 2,
        lambda body: gzip.compress(body + b" " * 200_000),
        zlib.compress,
        bytes,
    ]
)


def scores_in(value: object) -> list[object]:
    """Every number called a score, wherever it stands."""
    if isinstance(value, list):
        return [score for part in value for score in scores_in(part)]
    if not isinstance(value, dict):
        return []
    found = [v for k, v in value.items() if k in SCORES and v is not None]
    return found + [s for k, v in value.items() if k not in SENT_BACK for s in scores_in(v)]


def chunked(body: bytes, size: int) -> list[bytes]:
    return [body[i : i + size] for i in range(0, len(body), size)]


def test_any_body_is_ranked_or_refused(fuzzed: "Fuzzed") -> None:
    @fuzzed.examples(0.3)
    @given(path=st.sampled_from([*PATHS, "/tokenize"]), body=RAW)
    def run(path: str, body: bytes) -> None:
        answer = fuzzed.ask("bodies", "POST", path, [], [body])
        if answer.status == 200:
            found = scores_in(orjson.loads(answer.body))
            assert all(isinstance(score, float) and 0 <= score <= 1 for score in found)
        else:
            assert answer.status in (400, 413, 422)

    run()


def test_any_header_is_answered(fuzzed: "Fuzzed") -> None:
    @fuzzed.examples(0.1)
    @given(
        path=st.sampled_from([*PATHS, "/tokenize"]),
        headers=HEADERS,
        body=BODIES,
        size=st.integers(1, 200),
    )
    def run(path: str, headers: Headers, body: bytes, size: int) -> None:
        fuzzed.ask("headers", "POST", path, headers, chunked(body, size))

    run()


def test_any_compressed_body_is_answered(fuzzed: "Fuzzed") -> None:
    @fuzzed.examples(0.05)
    @given(body=RAW, compress=COMPRESSED, size=st.integers(1, 5000))
    def run(body: bytes, compress: Any, size: int) -> None:
        headers = [(b"content-encoding", b"gzip")]
        fuzzed.ask("gzip", "POST", "/rerank", headers, chunked(compress(body), size))

    run()


SPELT = st.sampled_from(
    [
        *("{0}", "{0}/", "/{0}", "{0}//", "/.{0}", "/x/..{0}", "{0}/.", "{0}/..", "{0}/../..{0}"),
        *(
            "/v1{0}",
            "{0}{0}",
            "{0}/x",
            "/api{0}/",
            "{0}\x00",
            "{0} ",
            "http://a{0}",
            "HTTPS://a/{0}",
        ),
        *(
            "ftp://a{0}",
            "a{0}",
            "*{0}",
            "*",
            "a:443",
            "",
            "http://a",
            "//",
            "/..",
            "{0}?{0}",
            "{0}#",
        ),
    ]
)


def test_any_method_and_path_is_answered(fuzzed: "Fuzzed") -> None:
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "X"]
    known = [*PATHS, "/health", "/metrics", "/info", "/v1/models", "/docs", "/openapi.json"]
    anything = TEXT.filter(lambda text: "\ud800" not in text).map(lambda text: f"/{text}")

    @fuzzed.examples(0.03)
    @given(
        method=st.sampled_from(methods),
        path=st.sampled_from(known) | anything,
        spelt=SPELT,
        headers=HEADERS,
        body=RAW,
    )
    def run(method: str, path: str, spelt: str, headers: Headers, body: bytes) -> None:
        fuzzed.ask("paths", method, spelt.format(path), headers, [body])

    run()


def test_a_client_that_goes_away_leaves_nothing_behind(fuzzed: "Fuzzed") -> None:
    @fuzzed.examples(0.02)
    @given(body=BODIES, size=st.integers(1, 200))
    def run(body: bytes, size: int) -> None:
        answer = fuzzed.ask("gone", "POST", "/rerank", [], chunked(body, size), is_cut_off=True)
        assert answer.status in (0, 499)

    run()
    after = fuzzed.ask("gone", "POST", "/rerank", [], [b'{"query":"q","texts":["q"]}'])
    assert after.status == 200
