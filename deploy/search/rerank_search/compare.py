"""Shows a search before and after reranking, and nDCG@10 of both over the judged questions."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import mean
from typing import Any

import httpx

from rerank_search.documents import Question
from rerank_search.ndcg import ndcg

_SHOWN = 5
_TITLE_WIDTH, _TEXT_WIDTH = 28, 60
Search = Callable[[str, bool], list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Holds nDCG@10 over the questions of a group.

    Attributes:
        before: nDCG@10 of each question in the first stage's order.
        after: nDCG@10 of each question in the reranker's order.
    """

    group: str
    before: tuple[float, ...]
    after: tuple[float, ...]

    def line(self) -> str:
        """Return a row of the table in Markdown."""
        pairs = list(zip(self.before, self.after, strict=True))
        won = sum(after > before for before, after in pairs)
        lost = sum(after < before for before, after in pairs)
        return (
            f"{self.group:<10} {len(pairs):>9} {mean(self.before):>8.3f} "
            f"{mean(self.after):>9.3f} {won:>5} {lost:>5}"
        )


HEADER = f"{'questions':<10} {'number':>9} {'BM25':>8} {'reranked':>9} {'won':>5} {'lost':>5}"


def search_at(client: httpx.Client) -> Search:
    """Search through a running service, whose base URL the client has."""

    def search(query: str, is_reranked: bool) -> list[dict[str, Any]]:
        parameters = {"q": query, "rerank": str(is_reranked).lower()}
        answer = client.get("/search", params=parameters).raise_for_status()
        hits: list[dict[str, Any]] = answer.json()["hits"]
        return hits

    return search


def show(search: Search, query: str, relevant: Iterable[str] = ()) -> Iterator[str]:
    """Yield the lines that show one search, relevant documents marked by a star."""
    marked = set(relevant)
    yield f"Query: {query}"
    for name, is_reranked in (("BM25", False), ("reranked", True)):
        yield f"\n{name}:"
        for rank, hit in enumerate(search(query, is_reranked)[:_SHOWN], start=1):
            star = "*" if hit["doc_id"] in marked else " "
            title, text = hit["title"][:_TITLE_WIDTH], " ".join(hit["text"].split())[:_TEXT_WIDTH]
            yield f" {star}{rank}. {hit['score']:7.3f}  {title:<{_TITLE_WIDTH}}  {text}"


def judge(search: Search, questions: Sequence[Question]) -> Iterator[Outcome]:
    """Measure nDCG@10 before and after, group by group; progress goes to standard error."""
    done = 0
    for group, members in groupby(questions, key=lambda each: each.group):
        before: list[float] = []
        after: list[float] = []
        for question in members:
            for is_reranked, values in ((False, before), (True, after)):
                ranking = [hit["doc_id"] for hit in search(question.query, is_reranked)]
                values.append(ndcg(ranking, question.relevance))
            done += 1
            print(f"\r{done} of {len(questions)} questions", end="", file=sys.stderr, flush=True)
        print(end="\r", file=sys.stderr, flush=True)
        yield Outcome(group, tuple(before), tuple(after))
