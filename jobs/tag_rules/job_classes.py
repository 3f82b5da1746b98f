"""Rules of cc-backend's job classes, as searches, where they translate.

A rule of cc-backend (configs/tagger/jobclasses, release 1.5) is a JSON file with `tag`, `metrics`, `parameters`,
`requirements`, `variables` and `rule`. Its expressions compare values of a job with numbers that are made of parameters
and of the thresholds of a metric in cluster.json. A search compares a metric with a share of its peak, so a rule
becomes a search for each set of subclusters on which its numbers are the same share.
"""

import ast
import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec

from archive.clusters import ClusterRegistry
from archive.format.cluster_json import MetricConfig

PARAMETERS = "parameters.json"
TAG_TYPE = "jobClass"
"""The type of the tags that cc-backend's classes have."""

_FACTS = {
    "duration": "duration:{operator}{value}s",
    "numNodes": "nodes:{operator}{value}",
    "numCores": "cores:{operator}{value}",
    "numAcc": "gpus:{operator}{value}",
}
_WORDS = {"shared": "shared", "jobState": "state"}
_OPERATORS: dict[type[ast.cmpop], str] = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "="}
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "="}
_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_THRESHOLDS = ("peak", "normal", "caution", "alert")
_STATISTICS = {"avg": "", "max": ".max"}


class UntranslatableError(ValueError):
    """A rule that no search says; the message says why."""


class _Variable(msgspec.Struct):
    name: str
    expr: str


_Words = Annotated[str, msgspec.Meta(min_length=1)]


class _Document(msgspec.Struct):
    """What a file says, of which more is not used."""

    tag: _Words
    rule: _Words
    metrics: list[str] | None = None
    requirements: list[str] | None = None
    variables: list[_Variable] | None = None


class Place(NamedTuple):
    """A subcluster, with the metrics that it has."""

    cluster: str
    sub_cluster: str
    metrics: Mapping[str, MetricConfig]


@dataclass
class Translation:
    """What became of a file: the name of the tag and searches, or why there is none."""

    file: str
    tag: str = ""
    searches: list[str] = field(default_factory=list)
    problem: str = ""


def translate(folder: Path, clusters: ClusterRegistry) -> Iterator[Translation]:
    """Yield what becomes of each rule in a folder, by name; raise OSError or ValueError if its parameters are bad."""
    path = folder / PARAMETERS
    parameters = json.loads(path.read_text()) if path.exists() else {}
    if not isinstance(parameters, dict):
        raise ValueError(f"{path}: expected an object of numbers")
    places = list(_places(clusters))
    for file in sorted(folder.glob("*.json")):
        if file.name == PARAMETERS:
            continue
        found = Translation(file.name)
        try:
            document = msgspec.json.decode(file.read_bytes(), type=_Document)
            found.tag = document.tag
            found.searches = _searches(document, parameters, places)
        except (ValueError, msgspec.DecodeError, OSError, OverflowError, RecursionError, MemoryError) as error:
            found.problem = str(error) or type(error).__name__
        yield found


def _places(clusters: ClusterRegistry) -> Iterator[Place]:
    for name in clusters.names():
        cluster = clusters.get(name)
        for part in cluster.subclusters if cluster else ():
            assert cluster is not None
            metrics = {metric.name: metric.for_subcluster(part.name) for metric in cluster.metrics}
            yield Place(name, part.name, {key: metric for key, metric in metrics.items() if metric is not None})


def _searches(document: _Document, parameters: Mapping[str, Any], places: list[Place]) -> list[str]:
    tests = [test for text in (*(document.requirements or ()), document.rule) for test in _conjunction(_parsed(text))]
    variables = {each.name: _parsed(each.expr) for each in document.variables or ()}
    metrics = document.metrics or ()
    by_words: dict[str, list[Place]] = {}
    for place in places:
        if all(name in place.metrics for name in metrics):
            words = " ".join(_condition(test, _Numbers(parameters, variables, place)) for test in tests)
            by_words.setdefault(words, []).append(place)
    if not by_words:
        raise UntranslatableError(f"no subcluster of cluster.json has the metrics {', '.join(metrics)}")
    return [search for words, there in by_words.items() for search in _limited(words, there, places)]


def _limited(words: str, there: list[Place], places: list[Place]) -> Iterator[str]:
    """Yield a search for all places, or one for each cluster or some of its subclusters."""
    if len(there) == len(places):
        yield words
        return
    for cluster in dict.fromkeys(place.cluster for place in there):
        own = [place.sub_cluster for place in there if place.cluster == cluster]
        limits = f'cluster:"{cluster}"'
        if len(own) < sum(place.cluster == cluster for place in places):
            limits += f" subcluster:{','.join(own)}"
        yield f"{limits} {words}"


def _parsed(text: str) -> ast.expr:
    """Parse an expression of cc-backend, whose operators are like Python's but for `&&`, `||` and `!`."""
    if "||" in text or re.search(r"!(?!=)|\b(?:or|not|in|if)\b", text):
        raise UntranslatableError(f"{text[:80]!r}: a search takes conditions that all hold, joined by &&")
    try:
        return ast.parse(text.replace("&&", " and ").strip(), mode="eval").body
    except SyntaxError:
        raise UntranslatableError(f"{text[:80]!r} is not understood") from None


def _conjunction(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        return [test for each in node.values for test in _conjunction(each)]
    return [node]


@dataclass(frozen=True)
class _Numbers:
    """The numbers that expressions name on a subcluster."""

    parameters: Mapping[str, Any]
    variables: Mapping[str, ast.expr]
    place: Place

    def of(self, node: ast.expr) -> float:
        """Return the value of an expression that does not depend on a job; raise UntranslatableError."""
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return float(node.value)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -self.of(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            try:
                return _ARITHMETIC[type(node.op)](self.of(node.left), self.of(node.right))
            except ZeroDivisionError:
                raise UntranslatableError(f"{ast.unparse(node)} divides by zero") from None
        if isinstance(node, ast.Name):
            if node.id in self.variables:
                return self.of(self.variables[node.id])
            value = self.parameters.get(node.id)
            if isinstance(value, int | float):
                return float(value)
        names = _names(node)
        if len(names) == 3 and names[1] == "limits" and names[2] in _THRESHOLDS and names[0] in self.place.metrics:
            return float(getattr(self.place.metrics[names[0]], names[2]))
        raise UntranslatableError(f"{ast.unparse(node)} is no number that parameters and cluster.json tell")


def _names(node: ast.expr) -> list[str]:
    """Return the parts of a dotted name; empty for anything else."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (before := _names(node.value)):
        return [*before, node.attr]
    return []


def _condition(test: ast.expr, numbers: _Numbers) -> str:
    """Return a comparison as a word of a search."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or type(test.ops[0]) not in _OPERATORS:
        raise UntranslatableError(f"{ast.unparse(test)}: expected a comparison by <, <=, >, >= or ==")
    sign, left, right = _OPERATORS[type(test.ops[0])], test.left, test.comparators[0]
    if not _is_of_job(left):
        sign, left, right = _TURNED[sign], right, left
    subject, key = [*_names(left), "", ""][:2]
    if subject == "job" and key in _FACTS:
        return _FACTS[key].format(operator=sign, value=_shown(numbers.of(right)))
    if subject == "job" and key in _WORDS and sign == "=" and isinstance(right, ast.Constant):
        if not re.fullmatch(r"\w+", str(right.value)):
            raise UntranslatableError(f"{ast.unparse(test)}: expected one word")
        return f"{_WORDS[key]}:{right.value!s}"
    if subject in numbers.place.metrics and key in _STATISTICS:
        name, value, peak = f"{subject}{_STATISTICS[key]}", numbers.of(right), numbers.place.metrics[subject].peak
        return f"{name}:{sign}{_shown(100 * value / peak)}%" if peak else f"{name}:{sign}{_shown(value)}"
    raise UntranslatableError(f"{ast.unparse(test)}: a search has no such value of a job")


def _is_of_job(node: ast.expr) -> bool:
    names = _names(node)
    return len(names) == 2 and (names[0] == "job" or names[1] in ("avg", "max", "min"))


def _shown(value: float) -> str:
    if value < 0:
        raise UntranslatableError(f"{value:g} is below zero")
    text = f"{value:.4f}" if value >= 0.1 or not value else f"{Decimal(f'{value:.4g}'):f}"
    return text.rstrip("0").rstrip(".")
