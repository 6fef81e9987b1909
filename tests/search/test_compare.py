"""The figures that the demo shows, and the corpus that they are of."""

import math
import random
from itertools import groupby
from pathlib import Path
from typing import Any

import ir_measures
import pytest
from ir_measures import nDCG

from rerank_search.compare import judge, show
from rerank_search.documents import Question, read_documents, read_questions
from rerank_search.ndcg import ndcg
from rerank_search.settings import DATA


@pytest.mark.parametrize("seed", range(20))
def test_ndcg_equals_that_of_ir_measures(seed: int) -> None:
    rng = random.Random(seed)
    names = [f"d{i}" for i in range(rng.randrange(1, 30))]
    relevance = {name: rng.randrange(0, 4) for name in names if rng.random() < 0.4} | {"missed": 1}
    ranking = rng.sample(names, len(names))
    run = {"q": {name: float(-place) for place, name in enumerate(ranking)}}
    expected = ir_measures.calc_aggregate([nDCG @ 10], {"q": relevance}, run)[nDCG @ 10]
    assert ndcg(ranking, relevance) == pytest.approx(expected)


def test_ndcg_without_anything_relevant_is_zero() -> None:
    assert ndcg(["a"], {}) == 0


def swapping(query: str, is_reranked: bool) -> list[dict[str, Any]]:
    """The document of a query is second, and first when reranked, but for one query."""
    is_first = is_reranked and query != "lost"
    order = (
        [query, "other"] if is_first or (query == "lost" and not is_reranked) else ["other", query]
    )
    return [{"doc_id": name, "title": name, "text": "a\nb", "score": 1.0} for name in order]


def test_judge_counts_each_group_before_and_after(capsys: pytest.CaptureFixture[str]) -> None:
    questions = [
        Question(group, query, {query: 1})
        for group, query in (("any", "won"), ("any", "lost"), ("hard", "won"))
    ]
    any_, hard = judge(swapping, questions)
    second = 1 / math.log2(3)
    assert (any_.group, any_.before, any_.after) == ("any", (second, 1.0), (1.0, second))
    assert (hard.group, hard.before, hard.after) == ("hard", (second,), (1.0,))
    assert any_.line().split() == ["any", "2", "0.815", "0.815", "1", "1"]
    assert "3 of 3" in capsys.readouterr().err


def test_show_marks_what_is_relevant() -> None:
    lines = "\n".join(show(swapping, "won", ["won"])).splitlines()
    before, after = lines[lines.index("BM25:") + 1], lines[lines.index("reranked:") + 1]
    assert before.startswith("  1.")
    assert after.startswith(" *1.")
    assert after.endswith("a b")


def test_every_judged_passage_is_in_the_corpus() -> None:
    known = [each.doc_id for each in read_documents(DATA)]
    questions = read_questions(DATA)
    assert len(known) == len(set(known)) == 579
    assert {group: len(list(m)) for group, m in groupby(q.group for q in questions)} == {
        "any": 100,
        "hard": 100,
    }
    for question in questions:
        assert question.relevance
        assert set(question.relevance) <= set(known)


def test_the_corpus_says_where_it_is_from() -> None:
    page = (Path(DATA) / "README.md").read_text(encoding="utf-8")
    assert "CC BY-SA 4.0" in page
    assert "Rajpurkar" in page
