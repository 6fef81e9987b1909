"""Runs one of the demo's commands: python -m rerank_search serve | setup | fill | compare."""

import argparse
import sys
import threading
from collections.abc import Callable
from itertools import groupby

import httpx
import uvicorn

from rerank_search.app import create_app
from rerank_search.backend import SearchError
from rerank_search.compare import HEADER, judge, search_at, show
from rerank_search.documents import Question, read_documents, read_questions
from rerank_search.opensearch_setup import set_up
from rerank_search.settings import SearchSettings

_COMPARE_TIMEOUT_S = 120


def main() -> int:
    """Run a command; settings come from SEARCH_<NAME>."""
    options = _parser().parse_args()
    command: Callable[[argparse.Namespace, SearchSettings], int] = options.command
    try:
        return command(options, SearchSettings())
    except (SearchError, httpx.HTTPError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rerank_search", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="answer GET /search")
    serve.set_defaults(command=_serve)
    setup = commands.add_parser("setup", help="fill OpenSearch and make its rerank pipeline")
    setup.set_defaults(command=_setup)
    fill = commands.add_parser("fill", help="have every document computed before it is searched")
    fill.set_defaults(command=_fill)
    compare = commands.add_parser("compare", help="a search before and after reranking, nDCG@10")
    compare.set_defaults(command=_compare)
    compare.add_argument("query", nargs="?", help="show this search (one of the judged questions)")
    compare.add_argument("--url", default="http://127.0.0.1:8080", help="of the search service")
    compare.add_argument("--questions", type=int, metavar="N", help="of each group (all)")
    return parser


def _serve(_: argparse.Namespace, settings: SearchSettings) -> int:
    backend = settings.backend()
    if settings.engine == "tantivy":  # OpenSearch keeps what `setup` has put there
        backend.replace(read_documents(settings.data))
        if settings.fill:  # beside the first searches
            threading.Thread(target=_fill_beside, args=(settings,), daemon=True).start()
    app = create_app(backend, num_candidates=settings.num_candidates)
    uvicorn.run(app, host=settings.host, port=settings.port, access_log=False)
    return 0


def _setup(_: argparse.Namespace, settings: SearchSettings) -> int:
    opensearch = settings.opensearch()
    documents = read_documents(settings.data)
    opensearch.replace(documents)
    model_id = set_up(opensearch, rerank_url=settings.rerank_url, api_key=settings.plain_key())
    print(f"{len(documents)} documents, model {model_id}")
    if settings.fill:
        _compute(settings)
    return 0


def _fill(_: argparse.Namespace, settings: SearchSettings) -> int:
    _compute(settings)
    return 0


def _fill_beside(settings: SearchSettings) -> None:
    """Compute documents; searches go on where that fails, and this says why."""
    try:
        _compute(settings)
    except (SearchError, httpx.HTTPError) as error:
        print(f"error: documents were not filled in: {error}", file=sys.stderr)


def _compute(settings: SearchSettings) -> None:
    documents = read_documents(settings.data)
    told = 0
    for done in settings.reranker().fill(documents):
        if 10 * done // len(documents) > told:  # every tenth
            told = 10 * done // len(documents)
            print(f"{done} of {len(documents)} documents are known", file=sys.stderr, flush=True)


def _compare(options: argparse.Namespace, settings: SearchSettings) -> int:
    questions = read_questions(settings.data)
    with httpx.Client(base_url=options.url, timeout=_COMPARE_TIMEOUT_S) as client:
        search = search_at(client)
        shown = questions[-1]
        query, relevant = options.query or shown.query, shown.relevance
        print(*show(search, query, () if options.query else relevant), sep="\n", flush=True)
        print(f"\nnDCG@10:\n{HEADER}", flush=True)
        for outcome in judge(search, _first(questions, options.questions)):
            print(outcome.line(), flush=True)
    return 0


def _first(questions: list[Question], number: int | None) -> list[Question]:
    groups = groupby(questions, key=lambda each: each.group)
    return [each for _, members in groups for each in list(members)[:number]]


if __name__ == "__main__":
    raise SystemExit(main())
