"""What a newcomer types first: four short documents that look alike, one of which answers."""

import json
from pathlib import Path

from blockrank_server.models.ranker import Ranker


def test_the_default_puts_the_answer_first_in_most_lists(fixtures: Path) -> None:
    """48 of 60 (models/DEFAULT.md, Results); one may turn on rounding."""
    ranker = Ranker.open("default", device="cpu")
    lines = (fixtures / "first_contact.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    found = ranker.rank_batch([(row["query"], row["documents"]) for row in rows])
    first = [
        scores.index(max(scores)) in row["answer_ids"]
        for scores, row in zip(found, rows, strict=True)
    ]
    assert len(first) == 60
    assert sum(first) >= 47
