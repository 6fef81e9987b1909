"""Documents that were kept with one salt are new with every other."""

from collections.abc import Callable

import numpy as np
import pytest

from blockrank_server.models.errors import InputError
from blockrank_server.models.ranker import Ranker

Rankers = Callable[..., tuple[Ranker, Ranker]]


def test_nothing_is_shared_with_another_salt(rankers: Rankers) -> None:
    keeping, plain = rankers()
    documents = ["river bank", "money"]
    keeping.rank("city", documents, cache_salt="one")
    batch = [keeping.encode("city", documents, cache_salt=salt) for salt in ("one", "two", "three")]
    assert [request.num_known_documents for request in batch] == [2, 0, 0]
    num_new = batch[1].num_computed_tokens  # not shared within a batch, either
    assert keeping._engine._pack(batch).num_tokens == batch[0].num_computed_tokens + 2 * num_new
    expected = [plain.rank("city", documents)] * 3
    np.testing.assert_allclose(keeping.score(batch), expected, atol=1e-5, rtol=0)
    for salt in ("two", "three"):
        known = keeping.encode("city", documents, cache_salt=salt)
        assert known.num_known_documents == 2


def test_a_salt_that_is_no_text_is_refused(rankers: Rankers) -> None:
    keeping, _ = rankers()
    for salt in (b"one", "\ud800"):
        with pytest.raises(InputError, match="cache_salt"):
            keeping.rank("city", ["river"], cache_salt=salt)  # type: ignore[arg-type]
