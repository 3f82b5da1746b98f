"""What a job's samples tell about it: a table of rules, each with the number that it measures.

A rule looks at the first of its metrics that the job has. Its sentence stands on the job page with what was measured;
its limit says from where on that is worth saying.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from accounts.formatting import clock_time, duration, scaled, share
from archive.format.data_document import Document, StoredMetric, StoredSeries, Unit
from archive.format.statistics import Samples, Statistics, statistics_series
from archive.plots.hosts import statistics_by_host, statistics_of_series
from archive.plots.plots import Plot
from jobs.rows.columns import Row
from jobs.states import JobState

_IDLE = 0.1  # of a node's normal value: below it a node does nothing for the job
_SHORTEST_TAIL = 600  # seconds


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found: its sentence, the number behind it, and where to see it.

    `begin` and `end` are epoch seconds, the part of the plot of `metric` that shows it.
    """

    rule: str
    sentence: str
    value: float
    metric: str
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a rule looks at: the job, its running time (seconds), and one metric in one scope with its plot."""

    row: Row
    elapsed: int
    metric: StoredMetric
    plot: Plot

    @property
    def unit(self) -> Unit:
        """The unit of the metric."""
        return self.metric.unit or Unit()

    def show(self, value: float) -> str:
        """Return a value of the metric with its unit."""
        return scaled(value, prefix=self.unit.prefix or "", base=self.unit.base)

    def moment(self, step: int) -> int:
        """Return the time of a sample in epoch seconds."""
        return self.row.start_time + step * self.metric.timestep

    def clock(self, moment: int) -> str:
        """Return a time of the job (epoch seconds) as text."""
        return clock_time(moment, self.row.start_time)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: its name, metrics and states (none: all), the limit of what is measured, and the sentence about it."""

    name: str
    look: Callable[["Rule", Evidence], Finding | None]
    metrics: tuple[str, ...]
    limit: float
    sentence: str
    states: frozenset[JobState] = frozenset()

    def found(self, evidence: Evidence, value: float, part: tuple[int, int], /, **words: object) -> Finding:
        """Return a finding; `part` is the time that shows it, in epoch seconds."""
        sentence = self.sentence.format(metric=evidence.plot.name, **words)
        return Finding(self.name, sentence, value, evidence.plot.name, *part)


def whole(evidence: Evidence) -> tuple[int, int]:
    """Return the time of the whole job."""
    return evidence.row.start_time, evidence.row.start_time + evidence.elapsed


def around(evidence: Evidence, moment: int) -> tuple[int, int]:
    """Return a tenth of the job's time around a moment, ten minutes at least."""
    half = max(300, evidence.elapsed // 20)
    first, last = whole(evidence)
    return max(first, moment - half), min(max(last, first + 1), moment + half)


def full_memory(rule: Rule, evidence: Evidence) -> Finding | None:
    """Find the node whose memory was fullest, as a share of the peak."""
    peak = evidence.plot.peak
    greatest = _extreme(evidence.metric, key=lambda statistics: statistics.max)
    if not peak or greatest is None or greatest[1].max < rule.limit * peak:
        return None
    series, statistics = greatest
    at = evidence.moment(int(np.nanargmax(series.samples())))
    words = {"host": series.hostname, "value": evidence.show(statistics.max), "peak": evidence.show(peak)}
    return rule.found(evidence, statistics.max / peak, around(evidence, at), at=evidence.clock(at), **words)


def unused_accelerators(rule: Rule, evidence: Evidence) -> Finding | None:
    """Count the accelerators that never did anything."""
    if evidence.plot.scope != "accelerator":
        return None
    top = rule.limit * (evidence.plot.peak or 100.0)
    known = [statistics for statistics in statistics_of_series(evidence.metric) if statistics is not None]
    unused = sum(statistics.max < top for statistics in known)
    if not unused:
        return None
    return rule.found(evidence, unused / len(known), whole(evidence), unused=unused, all=len(known))


def idle_node(rule: Rule, evidence: Evidence) -> Finding | None:
    """Find the node that was idle for the longest, as a share of the job's time."""
    by_host = statistics_by_host(evidence.metric, is_sum=False)
    normal = _busy(evidence)
    if evidence.elapsed < _SHORTEST_TAIL or not normal or _tail(evidence, normal) >= _least_tail(evidence, rule):
        return None
    host = min(by_host, key=lambda name: by_host[name].avg)
    arrays = [series.samples() for series in evidence.metric.series if series.hostname == host]
    mean = statistics_series(arrays)["mean"]
    present = np.isfinite(mean)
    idle = float(np.mean(mean[present] < _IDLE * normal))
    if idle < rule.limit:
        return None
    others = sum(statistics.avg < _IDLE * normal for name, statistics in by_host.items() if name != host)
    more = f", and {others} more below a tenth of normal" if others else ""
    return rule.found(evidence, idle, whole(evidence), host=host, share=share(idle), more=more)


def idle_end(rule: Rule, evidence: Evidence) -> Finding | None:
    """Find how long no node has done anything before the end."""
    normal = _busy(evidence)
    tail = _tail(evidence, normal) if normal else 0
    if tail < _least_tail(evidence, rule):
        return None
    end = whole(evidence)[1]
    words = {"at": evidence.clock(end - tail), "span": duration(tail)}
    return rule.found(evidence, tail, around(evidence, end - tail), **words)


def silent_node(rule: Rule, evidence: Evidence) -> Finding | None:
    """Find the node whose samples ended first, if others went on for `limit` time steps or more."""
    last: dict[str, int] = {}
    for series in evidence.metric.series:
        places = np.flatnonzero(np.isfinite(series.samples()))
        last[series.hostname] = max(last.get(series.hostname, 0), int(places[-1]) if places.size else 0)
    first = min(last, key=lambda host: last[host])
    steps = max(last.values()) - last[first]
    if steps < rule.limit:
        return None
    at = evidence.moment(last[first])
    return rule.found(evidence, steps, around(evidence, at), host=first, at=evidence.clock(at))


def low_use(rule: Rule, evidence: Evidence) -> Finding | None:
    """Compare the average with the mark `alert` of cluster.json, where more is better, unless others share the node."""
    if evidence.plot.scope == "node" and evidence.row.exclusive != 1:
        return None
    marks, average = evidence.plot.thresholds, evidence.plot.statistics["avg"]
    alert = marks.get("alert", 0.0)
    if alert >= marks.get("normal", 0.0) or average >= rule.limit * alert:
        return None
    words = {"value": evidence.show(average), "alert": evidence.show(alert), "scope": evidence.plot.scope}
    return rule.found(evidence, average / alert, whole(evidence), **words)


# Metrics of which a rule looks at the first that a job has.
MEMORY = ("mem_used", "mem_rss")
LOAD = ("cpu_load", "cpu_user", "flops_any")
ACCELERATOR = ("acc_utilization", "acc_util", "gpu_utilization")
_BAD_END = frozenset(JobState) - {JobState.RUNNING, JobState.COMPLETED}
_NOT_OUT_OF_MEMORY = frozenset(JobState) - {JobState.OUT_OF_MEMORY}

_BELOW_ALERT = "{metric} averaged {value} per {scope}, below the alert mark of {alert}."
_FULL = "{host} reached {value} of {peak} at {at}."

RULES = (
    Rule("out of memory", full_memory, MEMORY, 0.9, f"Out of memory: {_FULL}", frozenset({JobState.OUT_OF_MEMORY})),
    Rule("silent node", silent_node, LOAD, 5, "No samples of {host} after {at}, while others went on.", _BAD_END),
    Rule("full memory", full_memory, MEMORY, 0.95, f"Memory nearly full: {_FULL}", _NOT_OUT_OF_MEMORY),
    Rule("idle end", idle_end, LOAD, 0.1, "All nodes idle from {at} on, for {span} ({metric})."),
    Rule("idle node", idle_node, LOAD, 0.3, "Node {host} idle for {share} of the time ({metric}){more}."),
    Rule("unused accelerators", unused_accelerators, ACCELERATOR, 0.01, "{unused} of {all} accelerators never used."),
    Rule("low use of accelerators", low_use, ACCELERATOR, 1, _BELOW_ALERT),
    Rule("low load", low_use, ("cpu_load",), 1, _BELOW_ALERT),
    Rule("low flops", low_use, ("flops_any", "flops_dp"), 1, _BELOW_ALERT),
)


def findings(document: Document, plots: Sequence[Plot], row: Row, elapsed: int) -> list[Finding]:
    """Return what the rules find in a job's samples, in their order; `plots` name the scope of each metric.

    Raise one of DECODE_ERRORS.
    """
    by_name = {plot.name: plot for plot in plots}
    found = []
    for rule in RULES:
        name = next((name for name in rule.metrics if name in by_name), None)
        if name is None or (rule.states and row.job_state not in rule.states):
            continue
        plot = by_name[name]
        finding = rule.look(rule, Evidence(row, elapsed, document[name][plot.scope], plot))
        if finding is not None:
            found.append(finding)
    return found


def _extreme(metric: StoredMetric, key: Callable[[Statistics], float]) -> tuple[StoredSeries, Statistics] | None:
    """Return the series with the greatest value of `key`, None if no series has samples."""
    pairs = zip(metric.series, statistics_of_series(metric), strict=True)
    known = [(series, statistics) for series, statistics in pairs if statistics is not None]
    return max(known, key=lambda pair: key(pair[1]), default=None)


def _busy(evidence: Evidence) -> float:
    """Return the average of a busy node: `normal` in cluster.json if the job has its nodes alone, or else its best."""
    greatest = _extreme(evidence.metric, key=lambda statistics: statistics.avg)
    if greatest is None:
        return 0.0
    normal = evidence.plot.thresholds.get("normal", 0.0)
    return normal if normal and evidence.row.exclusive == 1 else greatest[1].avg


def _tail(evidence: Evidence, normal: float) -> int:
    """Return for how many seconds before the end all series were idle."""
    steps = evidence.metric.steps()
    if steps is not None:
        highest: Samples = np.array(steps.max, dtype=np.float64)
    else:
        highest = statistics_series([series.samples() for series in evidence.metric.series])["max"]
    present = np.flatnonzero(np.isfinite(highest))
    busy = np.flatnonzero(highest >= _IDLE * normal)
    if not present.size:
        return 0
    return int(present[-1] - (busy[-1] if busy.size else -1)) * evidence.metric.timestep


def _least_tail(evidence: Evidence, rule: Rule) -> float:
    return max(_SHORTEST_TAIL, rule.limit * evidence.elapsed)
