"""A request's documents are tokenised in one call of the tokenizer's threads."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from blockrank_server.models.prompt.request import Document
from blockrank_server.models.ranker import Ranker

DOCUMENTS: list[Document] = [
    "Paris is the capital.",
    {"title": "Berlin", "text": "In Germany."},
    "word " * 9999,
]


class Counted:
    """A tokenizer that notes how many texts each batch has."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.batches: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def encode_batch(self, texts: list[str], **options: Any) -> Any:
        self.batches.append(len(texts))
        return self._tokenizer.encode_batch(texts, **options)

    def encode_batch_fast(self, texts: list[str], **options: Any) -> Any:
        self.batches.append(len(texts))
        return self._tokenizer.encode_batch_fast(texts, **options)


@pytest.fixture(params=["blockrank", "qrranker"])
def ranker(
    request: pytest.FixtureRequest, query_free: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> Ranker:
    fields = request.getfixturevalue(f"{request.param}_card")
    if request.param == "blockrank":  # its own documents hold their numbers
        fields |= query_free
    return open_tiny(request.param, fields)


def test_documents_are_tokenised_in_one_batch(
    ranker: Ranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(ranker._encoder._tokenizer._tokenizer)
    monkeypatch.setattr(ranker._encoder._tokenizer, "_tokenizer", counted)
    ranker.encode("capital", DOCUMENTS)
    # The query, the start of the long document, and all documents.
    assert counted.batches == [1, 1, len(DOCUMENTS)]


@pytest.mark.parametrize("ranker", ["blockrank"], indirect=True)
def test_a_document_has_the_ids_it_has_alone(ranker: Ranker) -> None:
    """Where blocks are tokenised alone; elsewhere a token may span two documents."""
    together = ranker.encode("capital", DOCUMENTS)
    for span, document in zip(together.block_spans, DOCUMENTS, strict=True):
        alone = ranker.encode("capital", [document])
        np.testing.assert_array_equal(
            together.token_ids[slice(*span)], alone.token_ids[slice(*alone.block_spans[0])]
        )
