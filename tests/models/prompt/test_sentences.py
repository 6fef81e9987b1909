"""Text into sentences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockrank_server.models.prompt.sentences import sentence_spans

MANY = 1000
MARKED = st.text(st.sampled_from("ab. !?…。\n\r\t\"')(\u3000्।É"))


def sentences(text: str, max_sentences: int = MANY) -> list[str]:
    return [text[start:stop] for start, stop in sentence_spans(text, max_sentences)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two!  Three?\nFour", ["One.", "Two!", "Three?", "Four"]),
        ('He said "no." Then (so!) he left...  Why?!', ['He said "no."', "Then (so!)", "he left...",
                                                     "Why?!"]),
        ("巴黎是首都。它很大！“真的？”是。", ["巴黎是首都。", "它很大！", "“真的？”", "是。"]),
        ("पेरिस राजधानी है। यह बड़ा है।", ["पेरिस राजधानी है।", "यह बड़ा है।"]),
        ("هل هذا صحيح؟ نعم.", ["هل هذا صحيح؟", "نعم."]),
        ("Dr. Smith met J. R. Ewing, e.g. there. Pi is 3.14. See a.b.", [
            "Dr. Smith met J. R. Ewing, e.g. there.", "Pi is 3.14.", "See a.b."]),
        ("A title\n\nA first line\nwrapped. Next", ["A title", "A first line\nwrapped.", "Next"]),
        ("A title\r\n \r\nText", ["A title", "Text"]),
        ("  padded.  ", ["padded."]),
        ("...", ["..."]),
        ("", []),
        (" \n\n \t", []),
    ],
)  # fmt: skip
def test_sentences_end_where_readers_say(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_the_last_one_allowed_holds_the_rest() -> None:
    assert sentences("One. Two. Three. ", 2) == ["One.", "Two. Three."]
    assert sentences("One. Two. Three. ", 1) == ["One. Two. Three."]
    assert sentences("One. Two. Three.", 3) == ["One.", "Two.", "Three."]


@given(text=st.one_of(MARKED, st.text()), max_sentences=st.integers(1, 5))
def test_nothing_but_white_space_is_left_out(text: str, max_sentences: int) -> None:
    spans = sentence_spans(text, max_sentences)
    assert len(spans) <= max_sentences
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    assert edges == sorted(edges)
    for start, stop in spans:
        assert text[start:stop] == text[start:stop].strip() != ""
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        assert text[start:stop].strip() == ""


@pytest.mark.parametrize("text", ["." * 200_000 + "x", "\n " * 100_000, "a. " * 60_000, "?" * 9**6])
def test_long_runs_end(text: str) -> None:
    assert len(sentence_spans(text, 64)) <= 64
