"""Which labels a PromQL expression yields; says so if it names a metric or label there is not."""

import re
from collections.abc import Mapping

import promql_parser as promql
from prometheus_client import CollectorRegistry

from blockrank_server.models.document_cache.document_cache import CacheStats
from blockrank_server.service.dialects.registry import DIALECTS
from blockrank_server.service.metrics import Metrics
from blockrank_server.service.scheduler.metrics import MODEL_LABELS

TARGET = frozenset({"job", "instance"})  # what a scrape adds
# label -> values it can have; None where that depends on what is served
Labels = Mapping[str, frozenset[str] | None]
Known = Mapping[str, Labels]


class UnknownNameError(Exception):
    """A metric, a label or a label's value that is never there."""


def scraped() -> Known:
    """Every series of a server that has loaded its model, by the name that is scraped."""
    dialects = (dialect.name for dialect in DIALECTS)
    metrics = Metrics(CollectorRegistry(), dialects, 16_384)
    metrics.documents_are_kept()
    metrics.scheduler.model_loaded(dict.fromkeys(MODEL_LABELS, ""), lambda: (1, 2), CacheStats)
    target: Labels = dict.fromkeys(TARGET)
    known: dict[str, dict[str, frozenset[str] | None]] = {"up": dict(target)}
    for family in metrics.registry.collect():
        for sample in family.samples:
            labels = known.setdefault(sample.name, dict(target))
            for name, value in sample.labels.items():
                labels[name] = (labels.get(name) or frozenset()) | {value}
    known["rerank_model_info"].update(dict.fromkeys(MODEL_LABELS))
    return known


def yielded(text: str, known: Known) -> frozenset[str]:
    """Names of the labels that an expression's result has.

    Raises:
        UnknownNameError: it names what is not there.
        ValueError: it is not PromQL.
    """
    return _Reader(known).labels(promql.parse(text))


class _Reader:
    def __init__(self, known: Known) -> None:
        self._known = known

    def labels(self, node: object) -> frozenset[str]:
        match node:
            case promql.VectorSelector():
                found = self._of_selector(node)
            case promql.MatrixSelector():
                found = self._of_selector(node.vector_selector)
            case promql.AggregateExpr():
                found = self._of_aggregate(node)
            case promql.BinaryExpr():
                found = self._of_binary(node)
            case promql.Call():
                found = self._of_call(node)
            case promql.ParenExpr():
                found = self.labels(node.expr)
            case promql.NumberLiteral():
                found = frozenset()
            case _:
                raise NotImplementedError(type(node).__name__)
        return found

    def _of_selector(self, node: promql.VectorSelector) -> frozenset[str]:
        name = node.name or ""
        if name not in self._known:
            raise UnknownNameError(f"no metric {name}")
        labels = self._known[name]
        for matcher in node.matchers.matchers:
            self._check(name, matcher, labels)
        return frozenset(labels)

    def _check(self, metric: str, matcher: promql.Matcher, labels: Labels) -> None:
        if matcher.name not in labels:
            raise UnknownNameError(f"{metric} has no label {matcher.name}")
        values = labels[matcher.name]
        if values is None:
            return
        is_pattern = matcher.op == promql.MatchOp.Re
        for choice in matcher.value.split("|") if is_pattern else [matcher.value]:
            pattern = choice if is_pattern else re.escape(choice)
            if not any(re.fullmatch(pattern, value) for value in values):
                raise UnknownNameError(f"{metric} never has {matcher.name}={choice}")

    def _of_aggregate(self, node: promql.AggregateExpr) -> frozenset[str]:
        kept = frozenset(node.modifier.labels if node.modifier else ())
        self._require(kept, self.labels(node.expr))
        return kept

    def _of_binary(self, node: promql.BinaryExpr) -> frozenset[str]:
        left, right = self.labels(node.lhs), self.labels(node.rhs)
        matching = node.modifier.matching if node.modifier else None
        if matching is not None:
            self._require(frozenset(matching.labels), left)
            self._require(frozenset(matching.labels), right)
            return left if str(node.op) in ("and", "or", "unless") else frozenset(matching.labels)
        if left and right and left != right:
            raise UnknownNameError(f"{sorted(left)} never match {sorted(right)}")
        return left or right

    def _of_call(self, node: promql.Call) -> frozenset[str]:
        found = frozenset[str]().union(*map(self.labels, node.args))
        match node.func.name:
            case "scalar" | "vector" | "time":
                return frozenset()
            case "absent":
                return frozenset(matcher.name for matcher in node.args[0].matchers.matchers)
            case "histogram_quantile":
                self._require(frozenset({"le"}), found)
                return found - {"le"}
            case _:
                return found

    def _require(self, wanted: frozenset[str], there: frozenset[str]) -> None:
        if missing := wanted - there:
            raise UnknownNameError(f"no label {', '.join(sorted(missing))} in {sorted(there)}")
