"""Passages cut into sentences."""

import pytest

from blockrank_server.models.training.data_preparation.sentence_corpus import sentences

RISES = "The river rises in the high and snowy mountains."
FLOWS = "It flows past three towns on its long way to the sea."
MONEY = "Banks lend the money that other people have brought them."


def test_a_text_is_its_sentences() -> None:
    assert sentences(f" {RISES}  {FLOWS}\n") == [RISES, FLOWS]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no end at all",
        "Written by J. R. Smith of the U.S. Navy in 1.5 hours.",
        f"{RISES} So it is.",
        f"Yes. {FLOWS}",
    ],
)
def test_a_short_part_stays_with_its_neighbour(text: str) -> None:
    assert sentences(text) == [text]


def test_nothing_of_a_text_is_lost() -> None:
    text = f'{RISES} "{FLOWS}" (See 2.) {MONEY} [4] Why? {RISES}'
    assert " ".join(sentences(text)) == text
