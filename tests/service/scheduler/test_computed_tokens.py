"""What equal documents of a batch cost: as much as the packer places."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from blockrank_server.models.engine.packing import pack
from blockrank_server.service.scheduler.computed_tokens import num_computed_tokens

if TYPE_CHECKING:
    from tests.service.conftest import FakeRanker

DOCUMENTS = ["Berlin in Germany", "Paris", "Berlin in Germany", "a third"]
SHORTLISTS = pytest.mark.parametrize(
    "shortlists",
    [[("why", DOCUMENTS)], [("why", DOCUMENTS[:2]), ("and how", DOCUMENTS[1:])]],
    ids=["one request", "two"],
)


@SHORTLISTS
def test_equal_documents_count_once(shortlists: Any, fake_ranker: "type[FakeRanker]") -> None:
    ranker = fake_ranker()
    requests = [ranker.encode(*shortlist) for shortlist in shortlists]
    placed = pack(requests, ranker.card).num_tokens
    assert num_computed_tokens(requests) == placed
    assert placed < sum(request.num_tokens for request in requests)


@SHORTLISTS
def test_no_more_are_counted_than_are_computed(
    shortlists: Any, fake_ranker: "type[FakeRanker]"
) -> None:
    ranker = fake_ranker()
    requests = [ranker.encode(*shortlist) for shortlist in shortlists]
    card = ranker.card.model_copy(update={"reusable_documents": False})
    assert num_computed_tokens(requests) < pack(requests, card).num_tokens


def test_what_is_known_does_not_count(fake_ranker: "type[FakeRanker]") -> None:
    ranker = fake_ranker()
    request = ranker.encode("why", DOCUMENTS[:2])
    start, stop = request.block_spans[0].tolist()
    token_ids = request.token_ids.copy()
    token_ids[start:stop] = -1
    known = replace(request, token_ids=token_ids)
    assert num_computed_tokens([known]) == num_computed_tokens([request]) - (stop - start)
