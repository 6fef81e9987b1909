"""Writes results as Markdown."""

from collections.abc import Iterable, Sequence
from typing import Any

from blockrank_server.models.evaluation.breakdown import QueryGroup
from blockrank_server.models.evaluation.evaluation import Summary, summarise
from blockrank_server.models.evaluation.latency import Latency
from blockrank_server.models.evaluation.results import Judging, Measured, SetResult, SetRow
from blockrank_server.models.evaluation.significance import TEST, Comparison

# A difference whose p is below this is taken for more than chance.
_SURE = 0.05


def as_markdown(
    title: str, results: Sequence[SetResult], judging: Judging, latency: Sequence[Latency]
) -> str:
    rows = [r.row for r in results]
    summaries = summarise(results, list(judging.measures))
    parts = [f"# {title}\n", _in_words(rows, judging.main), _notes(rows, judging)]
    parts += [_measure_table(name, rows, summaries) for name in judging.measures]
    parts += [
        _group_table("By number of documents", rows, lambda r: r.by_documents, judging.main),
        _group_table(
            "By position of the first relevant document",
            rows,
            lambda r: r.by_position,
            judging.main,
        ),
    ]
    if any(r.shuffled for r in rows):
        parts += [_shuffle_table(rows, judging.main), _shuffled_positions(rows, judging.main)]
    if any(r.calibration for r in rows):
        parts.append(_calibration_table(rows))
    if latency:
        parts.append(_latency_table(latency))
    return "\n".join(parts)


def _in_words(rows: Sequence[SetRow], measure: str) -> str:
    """Say of each set whether ranking it is worth it."""
    lines = []
    for row in rows:
        found = row.measures[measure].against_first_stage
        difference, p, _ = _compared(found)
        lines.append(
            f"- {row.set}, {_count(row)} documents: ranking moves {row.moved} of {row.queries} "
            f"first results; {measure} {difference} (p {p if p[0] == '<' else f'= {p}'}): "
            f"{_verdict(found)}."
        )
    return "\n".join(lines) + "\n"


def _verdict(found: Comparison) -> str:
    if found.p_value >= _SURE:
        return "it may be chance, more queries would tell"
    return "it helps" if found.difference > 0 else "it harms"


def _notes(rows: Sequence[SetRow], judging: Judging) -> str:
    lines = [
        f"Judged queries without a ranking count as zero. p: {TEST}; not corrected for the number "
        "of sets. won / lost: queries above / below.",
    ]
    if judging.min_relevance > 1:
        lines.append(f"Relevant: judged {judging.min_relevance} or more.")
    for name, text in (
        ("unanswered", "judged queries without a ranking"),
        ("unjudged", "lists without a judgement, left out"),
    ):
        found = {r.set: getattr(r, name) for r in rows if getattr(r, name)}
        if found:
            lines.append(f"{text}: {', '.join(f'{s} {n}' for s, n in found.items())}.")
    return "\n".join(lines) + "\n"


def _measure_table(name: str, rows: Sequence[SetRow], summaries: Sequence[Summary]) -> str:
    has_other = any(r.measures[name].other is not None for r in rows)
    head = ["set", "queries", "documents", "first stage", "ours", "difference", "p", "won / lost"]
    if has_other:
        head += ["other run", "difference", "p", "won / lost"]
    body = [
        [r.set, str(r.queries), f"{r.mean_documents:.4g}", *_cells(r.measures[name], has_other)]
        for r in rows
    ]
    body += [
        [
            f"mean of {s.sets} sets",
            "",
            "all" if s.documents is None else f"{s.documents}",
            *_cells(s.measures[name], has_other),
        ]
        for s in summaries
        if s.sets > 1
    ]
    return f"## {name}\n\n{_table(head, body)}"


def _cells(found: Measured, has_other: bool) -> list[str]:
    cells = [f"{found.first_stage:.3f}", f"{found.ours:.3f}", *_compared(found.against_first_stage)]
    if has_other and found.other is not None and found.against_other is not None:
        cells += [f"{found.other:.3f}", *_compared(found.against_other)]
    return cells


def _compared(found: Comparison) -> list[str]:
    p = "< 0.001" if found.p_value < 0.001 else f"{found.p_value:.3f}"
    return [f"{found.difference:+.3f}", p, f"{found.won} / {found.lost}"]


def _group_table(title: str, rows: Sequence[SetRow], groups: Any, measure: str) -> str:
    body = [[r.set, _count(r), *_group(g)] for r in rows for g in groups(r)]
    head = ["set", "cut to", title.removeprefix("By ").removeprefix("number of ")]
    return f"## {title}\n\n{_table([*head, 'queries', f'first stage {measure}', 'ours'], body)}"


def _group(group: QueryGroup) -> list[str]:
    return [group.name, str(group.queries), f"{group.first_stage:.3f}", f"{group.ours:.3f}"]


def _shuffle_table(rows: Sequence[SetRow], measure: str) -> str:
    head = ["set", "cut to", f"{measure} as given", "shuffled", "p", "won / lost"]
    head += ["mean change of a score", "largest", "same first", "same order"]
    body = []
    for r in rows:
        if r.shuffled is None:
            continue
        _, p, won_lost = _compared(r.shuffled.against_given_order)
        cells = [f"{r.measures[measure].ours:.3f}", f"{r.shuffled.ours:.3f}", p, won_lost]
        if effect := r.shuffled.effect:
            cells += [f"{effect.mean_change:.2%}", f"{effect.largest_change:.2%}"]
            cells += [f"{effect.same_first:.1%}", f"{effect.same_order:.1%}"]
        body.append([r.set, _count(r), *cells])
    note = "Changes are shares of the list's mean score.\n"
    return f"## Shuffled lists\n\n{note}\n{_table(head, body)}"


def _shuffled_positions(rows: Sequence[SetRow], measure: str) -> str:
    return _group_table(
        "By position of the first relevant document, shuffled",
        rows,
        lambda r: r.shuffled.by_position if r.shuffled else [],
        measure,
    )


def _calibration_table(rows: Sequence[SetRow]) -> str:
    body = [
        [r.set, _count(r), str(b.documents), f"{b.score:.3f}", f"{b.relevant:.3f}"]
        for r in rows
        for b in r.calibration or []
    ]
    errors = ", ".join(
        f"{r.set} ({_count(r)}) {r.calibration_error:.3f}"
        for r in rows
        if r.calibration_error is not None
    )
    head = ["set", "cut to", "documents", "mean score", "relevant"]
    return f"## Calibration\n\nMean distance: {errors}.\n\n{_table(head, body)}"


def _latency_table(latency: Sequence[Latency]) -> str:
    head = ["documents", "tokens", "median", "longest", "requests"]
    body = [
        [
            str(x.documents),
            str(x.tokens),
            f"{x.median_ms:.0f} ms",
            f"{x.longest_ms:.0f} ms",
            str(x.requests),
        ]
        for x in latency
    ]
    return f"## Latency, one request at a time\n\n{_table(head, body)}"


def _count(row: SetRow) -> str:
    return "all" if row.documents is None else str(row.documents)


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
