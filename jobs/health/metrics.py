"""The figures of the server for Prometheus, in its text format."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from django.db import DatabaseError

from jobs.health import archive
from jobs.health.checks import report
from jobs.health.look import Look
from jobs.health.report import Finding, queries_within_limit
from jobs.models import Job

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: its name without the common prefix, its type, a help text, and its values by labels.

    The values of a histogram have a suffix to its name each; they come after the others, as `parts`.
    """

    name: str
    kind: str
    help: str
    samples: tuple[tuple[Mapping[str, str], float], ...]
    parts: tuple[tuple[str, Mapping[str, str], float], ...] = ()


def exposition(families: Iterable[Family]) -> str:
    """Return metrics in Prometheus's text format; see its documentation, "Exposition formats"."""
    lines = []
    for family in families:
        name = f"ccbackend_{family.name}"
        lines += [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}"]
        for suffix, labels, value in (*(("", *sample) for sample in family.samples), *family.parts):
            shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
            lines.append(f"{name}{suffix}{f'{{{shown}}}' if shown else ''} {value!r}")
    return "\n".join([*lines, ""])


def families(now: int, version: str) -> Iterator[Family]:
    """Yield the metrics; without those of the database if it does not answer."""
    yield _gauge("info", "The release that runs.", [({"version": version}, 1)])
    look = Look(now)
    findings = report(look)
    yield _gauge("health", "The worst state of each check: 0 ok, 1 warning, 2 error.", _by_check(findings))
    if found := archive.space():
        yield _gauge("archive_free_bytes", "Free bytes of the archive's file system.", [({}, found.free)])
    try:
        with queries_within_limit():
            yield from list(_of_rows(look))
    except DatabaseError:
        return


def _of_rows(look: Look) -> Iterator[Family]:
    jobs = {
        "running": Job.objects.running(),
        "waiting": Job.objects.awaiting_archive(),
        "archiving_failed": Job.objects.given_up(),
    }
    counts = [({"state": state}, some.order_by().count()) for state, some in jobs.items()]
    yield _gauge("jobs", "Jobs that run, wait for the archive, or whose archiving was given up.", counts)
    _, first = look.waiting
    oldest = 0 if first is None else max(0, look.now - first)
    yield _gauge(
        "oldest_waiting_seconds", "Since the end of the job that waits for the archive longest.", [({}, oldest)]
    )
    ages = [({"worker": worker.place}, worker.age) for worker in look.workers]
    yield _gauge("worker_heartbeat_age_seconds", "Since the last sign of life of each archive worker.", ages)
    archived = [({"worker": worker.place}, worker.archived) for worker in look.workers]
    yield Family("worker_archived_total", "counter", "Jobs that each archive worker has archived.", _rows(archived))
    seconds = [({"worker": worker.place}, worker.seconds) for worker in look.workers]
    text = "Seconds that the archived jobs were in work, summed by worker."
    yield Family("worker_archived_seconds_total", "counter", text, _rows(seconds))
    starts = [({"cluster": each.cluster}, each.last_start) for each in look.events if each.last_start]
    stops = [({"cluster": each.cluster}, each.last_stop) for each in look.events if each.last_stop]
    yield _gauge("cluster_last_start_seconds", "When the last job of a cluster started (epoch seconds).", starts)
    yield _gauge("cluster_last_stop_seconds", "When the last job of a cluster ended (epoch seconds).", stops)


def _by_check(findings: Iterable[Finding]) -> list[tuple[Mapping[str, str], float]]:
    states: dict[str, int] = {}
    for finding in findings:
        states[finding.name] = max(finding.state, states.get(finding.name, 0))
    return [({"check": name}, int(state)) for name, state in states.items()]


def _gauge(name: str, text: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> Family:
    return Family(name, "gauge", text, _rows(samples))


def _rows(samples: Iterable[tuple[Mapping[str, str], float]]) -> tuple[tuple[Mapping[str, str], float], ...]:
    return tuple(samples)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
