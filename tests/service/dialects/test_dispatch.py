"""Which shape a body on the shared paths is of: protocols 1.5, said a second time."""

import pytest
from starlette.datastructures import Headers

from blockrank_server.service.dialects.shapes import BY_BODY, SHAPES, shape_of

PINECONE = Headers({"x-pinecone-api-version": "2025-04"})


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ("query passages", "d"),
        ("query passages input candidates texts documents property top_k", "d"),
        ("query input", "f"),
        ("query input candidates texts documents top_k", "f"),
        ("query candidates", "h"),
        ("query candidates texts documents", "h"),
        ("query texts", "b"),
        ("query texts top_n top_k truncation raw_scores model property", "b"),
        ("query texts documents", "a"),
        ("query documents property", "c"),
        ("query documents property top_k", "c"),
        ("query documents property model", "a"),
        ("query documents top_k", "e"),
        ("query documents top_k top_n truncation raw_scores", "e"),
        ("query documents truncation", "e"),
        ("query documents truncation raw_scores", "e"),
        ("query documents truncation top_n", "a"),
        ("query documents raw_scores", "a-inf"),
        ("query documents raw_scores truncation top_n", "a-inf"),
        ("query raw_scores", "a"),
        ("text_1 text_2", "i"),
        ("queries documents", "i"),
        ("queries items", "i"),
        ("data_1 data_2", "i"),
        ("query documents", "a"),
        ("query documents top_n model return_documents", "a"),
        ("query", "a"),
        ("", "a"),
    ],
)
def test_the_keys_choose_the_shape(keys: str, name: str) -> None:
    assert shape_of(dict.fromkeys(keys.split()), Headers({}), BY_BODY).name == name


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ("query documents", "j"),
        ("query documents top_n return_documents", "j"),
        ("query documents raw_scores", "a-inf"),
        ("query texts", "b"),
    ],
)
def test_a_header_chooses_where_keys_do_not(keys: str, name: str) -> None:
    assert shape_of(dict.fromkeys(keys.split()), PINECONE, BY_BODY).name == name


def test_a_path_of_one_shape_takes_every_body() -> None:
    for shape in SHAPES:
        for keys in ("query texts", "query documents top_k", "passages", ""):
            assert shape_of(dict.fromkeys(keys.split()), PINECONE, (shape,)) is shape


def test_every_name_is_a_label_of_its_own() -> None:
    names = [shape.name for shape in SHAPES]
    assert sorted(names) == ["a", "a-inf", "b", "c", "d", "e", "f", "g", "h", "i", "j"]


def test_every_example_is_of_its_own_shape() -> None:
    for shape in SHAPES:
        headers = PINECONE if shape.name == "j" else Headers({})
        found = shape_of(shape.example, headers, BY_BODY).name
        assert found == ("a" if shape.name == "g" else shape.name)
