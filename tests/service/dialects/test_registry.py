"""Which dialect a body on the shared paths is in: the order of marks, said a second time."""

import pytest
from starlette.datastructures import Headers

from blockrank_server.service.dialects.registry import BY_BODY, DIALECTS, ROUTES, dialect_of

PINECONE = Headers({"x-pinecone-api-version": "2025-04"})


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ("query passages", "nvidia"),
        ("query passages input candidates texts documents property top_k", "nvidia"),
        ("query input", "mixedbread"),
        ("query input candidates texts documents top_k", "mixedbread"),
        ("query candidates", "rank_llm"),
        ("query candidates texts documents", "rank_llm"),
        ("query texts", "tei"),
        ("query texts top_n top_k truncation raw_scores model property", "tei"),
        ("query texts documents", "cohere"),
        ("query documents property", "weaviate"),
        ("query documents property top_k", "weaviate"),
        ("query documents property model", "cohere"),
        ("query documents top_k", "voyage"),
        ("query documents top_k top_n truncation raw_scores", "voyage"),
        ("query documents truncation", "voyage"),
        ("query documents truncation raw_scores", "voyage"),
        ("query documents truncation top_n", "cohere"),
        ("query documents raw_scores", "infinity"),
        ("query documents raw_scores truncation top_n", "infinity"),
        ("query raw_scores", "cohere"),
        ("text_1 text_2", "vllm_score"),
        ("queries documents", "vllm_score"),
        ("queries items", "vllm_score"),
        ("data_1 data_2", "vllm_score"),
        ("query documents", "cohere"),
        ("query documents top_n model return_documents", "cohere"),
        ("query", "cohere"),
        ("", "cohere"),
    ],
)
def test_the_keys_choose_the_dialect(keys: str, name: str) -> None:
    assert dialect_of(dict.fromkeys(keys.split()), Headers({}), BY_BODY).name == name


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ("query documents", "pinecone"),
        ("query documents top_n return_documents", "pinecone"),
        ("query documents raw_scores", "infinity"),
        ("query texts", "tei"),
    ],
)
def test_a_header_chooses_where_keys_do_not(keys: str, name: str) -> None:
    assert dialect_of(dict.fromkeys(keys.split()), PINECONE, BY_BODY).name == name


def test_a_path_of_one_dialect_takes_every_body() -> None:
    for dialect in DIALECTS:
        for keys in ("query texts", "query documents top_k", "passages", ""):
            assert dialect_of(dict.fromkeys(keys.split()), PINECONE, (dialect,)) is dialect


def test_every_name_is_a_label_of_its_own() -> None:
    assert sorted(dialect.name for dialect in DIALECTS) == [
        *("cohere", "infinity", "mixedbread", "nvidia", "pinecone", "rank_llm", "sglang", "tei"),
        *("vllm_score", "voyage", "weaviate"),
    ]


def test_every_example_is_in_its_own_dialect() -> None:
    for dialect in DIALECTS:
        headers = PINECONE if dialect.name == "pinecone" else Headers({})
        found = dialect_of(dialect.example, headers, BY_BODY).name
        assert found == ("cohere" if dialect.name == "sglang" else dialect.name)


def test_every_dialect_has_one_path_of_its_own() -> None:
    pinned = [route.dialects[0] for route in ROUTES if len(route.dialects) == 1]
    assert sorted(dialect.name for dialect in pinned) == sorted(
        dialect.name for dialect in DIALECTS
    )
    assert [route.dialects for route in ROUTES if len(route.dialects) > 1] == [BY_BODY]


def test_no_path_is_given_twice() -> None:
    paths = [path for route in ROUTES for path in (route.path, *route.aliases)]
    assert len(paths) == len(set(paths)) == 22
