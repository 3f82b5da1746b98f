"""The rows of an export of jobs: its columns, with a footprint's averages, and the jobs in parts of constant memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db.models import F, Prefetch, Q

from archive import root
from jobs.admin.changelist import BIG
from jobs.admin.display import archiving_word
from jobs.ledger.slots import slots
from jobs.models import Tag
from jobs.search.expressions import Hosts, JobName
from jobs.search.find import Search
from jobs.search.footprints import unit_of

_PART = 2_000  # jobs per query
_HOUR = 3600
_LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()

Row = list[Any]


@dataclass(frozen=True)
class Column:
    """A column: its name, its type (int, float, str, list of str, or datetime in UTC), and the value of a job.

    A value may be None, but for texts and lists, which are empty.
    """

    name: str
    type: type
    value: Callable[[Any], Any]


_FIXED = (
    Column("id", int, lambda job: job.pk),
    Column("jobId", int, lambda job: job.job_id),
    Column("name", str, lambda job: job.name or ""),
    Column("user", str, lambda job: job.user),
    Column("project", str, lambda job: job.project),
    Column("cluster", str, lambda job: job.cluster),
    Column("subCluster", str, lambda job: job.sub_cluster),
    Column("partition", str, lambda job: job.partition),
    Column("arrayJobId", int, lambda job: job.array_job_id),
    Column("numNodes", int, lambda job: job.num_nodes),
    Column("numHwthreads", int, lambda job: job.num_hwthreads),
    Column("numAcc", int, lambda job: job.num_acc),
    Column("jobState", str, lambda job: job.job_state),
    Column("startTime", int, lambda job: job.start_time),
    Column("start", datetime, lambda job: _moment(job.start_time)),
    Column("end", datetime, lambda job: _moment(job.stop_time)),
    Column("duration", int, lambda job: job.elapsed),
    Column("walltime", int, lambda job: job.walltime),
    Column("nodeHours", float, lambda job: round(job.num_nodes * job.elapsed / _HOUR, 4)),
    Column("coreHours", float, lambda job: round(job.cores * job.elapsed / _HOUR, 4) if job.cores else None),
    Column("energy (kWh)", float, lambda job: job.energy),
    Column("archiving", str, archiving_word),
    Column("tags", list, lambda job: [str(tag) for tag in job.tags.all()]),
    Column("hosts", list, lambda job: job.hosts.split() if job.hosts else []),
)
"""The columns but for those of metrics, in their order."""


def columns_of(cluster: str | None) -> list[Column]:
    """Return the columns of an export: those of all jobs, and the average of each metric of a cluster, None for all.

    The name of an average has its unit. A metric whose unit is another on another cluster has a column for each.
    """
    known = root.registry()
    found: dict[str, tuple[int, set[str]]] = {}
    for metric, slot in slots().items():
        units: dict[str, set[str]] = {}
        for name in known.names() if cluster is None else [cluster]:
            configured = known.get(name)
            config = configured.metric(metric) if configured else None
            if config is not None:
                units.setdefault(_named(metric, config.unit), set()).add(name)
        if not units and cluster is not None and known.get(cluster) is not None:
            continue  # the cluster does not have this metric
        for label, clusters in (units or {_named(metric, unit_of(metric)): set()}).items():
            found[label] = (slot, clusters if len(units) > 1 else set())
    return [*_FIXED, *(Column(label, float, _average(*where)) for label, where in found.items())]


def _named(metric: str, unit: dict[str, str]) -> str:
    text = f"{unit.get('prefix', '')}{unit.get('base', '')}"
    return f"{metric} ({text})" if text else metric


def _average(slot: int, clusters: set[str]) -> Callable[[Any], Any]:
    """Return what takes the average from a job of one of these clusters, or of any if there is none."""
    name = _average_name(slot)
    if not clusters:
        return lambda job: getattr(job, name)
    return lambda job: getattr(job, name) if job.cluster in clusters else None


def _average_name(slot: int) -> str:
    return f"average_{slot}"


def rows(search: Search, columns: list[Column]) -> Iterator[list[Row]]:
    """Yield the jobs in parts, newest first.

    Each part is a query that continues after the previous one, so that a slow download keeps no transaction open.
    """
    tags = Prefetch("tags", Tag.objects.order_by("type", "name"))
    figures = {name: F(f"footprint__{name}") for name in ("cores", "energy")}
    figures |= {_average_name(slot): F(f"footprint__avg_{slot}") for slot in slots().values()}
    computed = {"name": JobName(F("meta_data")), "hosts": Hosts(F("resources")), **figures}
    for found in search.parts():
        jobs = found.defer(*BIG).annotate(**computed).prefetch_related(tags)
        part = list(jobs[:_PART])
        while part:
            yield [[column.value(job) for column in columns] for job in part]
            last = part[-1]
            further = Q(start_time=last.start_time, pk__lt=last.pk) | Q(start_time__lt=last.start_time)
            # The first condition, redundant by itself, lets the database use an index.
            after = jobs.filter(start_time__lte=last.start_time).filter(further)
            part = list(after[:_PART]) if len(part) == _PART else []


def _moment(seconds: int | None) -> datetime | None:
    """Return epoch seconds as a time; None if there is none, or it is out of range."""
    return None if seconds is None or seconds > _LATEST else datetime.fromtimestamp(seconds, UTC)
