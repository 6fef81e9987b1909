"""Lists of one-sentence documents and look-alikes, by a bi-encoder of random weights."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest

from blockrank_server.models.data.shortlists import write_rows
from blockrank_server.models.data.source import Source, find_files, read_lists
from blockrank_server.models.training.data_preparation import short_lists
from blockrank_server.models.training.data_preparation.bi_encoder import open_bi_encoder
from blockrank_server.models.training.data_preparation.teacher_vectors import TeacherVectors

PLACES = ["Malta", "Peru", "Chad", "Laos", "Oman", "Fiji", "Cuba", "Mali", "Iran", "Togo"]


def sentences_of(place: str) -> list[str]:
    number = PLACES.index(place)
    return [
        f"The old bank is the sea of all {number} moneys in {place}.",
        f"A river flows past the {number} towns of {place} to the sea.",
    ]


@pytest.fixture
def towns(tmp_path: Path) -> Path:
    """A set of passages of two sentences, one a place."""
    rows = [
        {
            "doc_id": place,
            "title": place,
            "text": " ".join(sentences_of(place)),
        }
        for place in PLACES
    ]
    write_rows(tmp_path / "towns", ".passages", rows)
    lists = [
        {"query_id": p, "query": f"river of {p}", "doc_ids": PLACES, "answer_ids": [p]}
        for p in PLACES
    ]
    write_rows(tmp_path / "towns", ".lists", lists)
    return tmp_path / "towns"


def test_groups_hold_answers_and_their_look_alikes(
    bi_encoder: Path, towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    options = ["--groups", "4", "--lists", "3", "--documents", "8", "--made", "20"]
    monkeypatch.setattr(
        sys, "argv", ["x", str(bi_encoder), str(towns), "--out", str(out), *options]
    )
    short_lists.main()
    source = Source(path=str(out / "sentences"))
    lists = list(read_lists(source, find_files(source, Path())))
    assert lists
    assert len(lists) % 3 == 0
    for group in (lists[i : i + 3] for i in range(0, len(lists), 3)):
        documents = {doc_id for x in group for doc_id in x.doc_ids}
        assert len(documents) <= 8
        assert len({x.query for x in group}) == 3
    for x in lists:
        assert list(x.relevance) == sorted(x.relevance, reverse=True)
        assert 3 <= x.relevance.count(0) < len(x.relevance)
        assert x.teacher is not None
        others = list(x.teacher[sum(x.relevance) :])
        assert others == sorted(others, reverse=True)
    swapped = {text for x in lists for text in x.texts} - {
        text for place in PLACES for text in sentences_of(place)
    }
    assert swapped, "no answer stands with another name"


def test_vectors_are_kept_on_disk(bi_encoder: Path, tmp_path: Path) -> None:
    encoder = open_bi_encoder(bi_encoder, 16, "float32")
    file = tmp_path / "vectors.npz"
    texts = ["the river", "money", "the river flows"]
    first = TeacherVectors(encoder, file).encode(texts)
    np.testing.assert_allclose(first, encoder.encode(texts, normalize_embeddings=True), atol=1e-3)
    random.Random(1).shuffle(texts)
    again = TeacherVectors(None, file)  # nothing is left to encode
    assert again.encode(texts).shape == first.shape
