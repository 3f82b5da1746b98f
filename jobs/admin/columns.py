"""The columns of the job list: what each shows and sorts by, and the choice of a person."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from django.db.models import Case, F, FloatField, When
from django.db.models.functions import Coalesce, Lower
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.formatting import NOTHING, duration, scaled
from accounts.models import User
from jobs.admin import display
from jobs.ledger.slots import slots
from jobs.models import Job, ListColumns
from jobs.records import PER_MILLE, JobFootprint
from jobs.search.expressions import elapsed_until
from jobs.search.footprints import unit_of

Shown = SafeString | str


@dataclass(frozen=True)
class Column:
    """A column as Django's list takes it: a callable with a name and a heading.

    `order` returns the expression that it sorts by at a time (epoch seconds); None if it does not. `needs` is a column
    that lists do not load otherwise, or "footprint", the row beside the job.
    """

    name: str
    short_description: str
    show: Callable[[Job], Shown]
    order: Callable[[int], Any] | None = None
    needs: str = ""
    is_number: bool = False
    do_not_call_in_templates: ClassVar[bool] = True

    def __call__(self, job: Job) -> Shown:
        """Return what the column shows of a job."""
        return self.show(job)

    @property
    def __name__(self) -> str:
        """Return the name, of which Django makes the classes of cells."""
        return self.name

    @property
    def css_class(self) -> str:
        """Return the classes of the heading."""
        return f"column-{self.name}{' number-column' if self.is_number else ''}"


def _job(job: Job) -> Shown:
    name = str(getattr(job, "name", None) or "")
    return format_html('{} <span class="quiet small" title="{}">{}</span>', job.job_id, name, name)


def _owner(job: Job) -> Shown:
    return format_html('{} <span class="quiet small" title="{}">{}</span>', job.user, job.project, job.project)


def _cluster(job: Job) -> Shown:
    rest = " · ".join(part for part in (job.sub_cluster, job.partition) if part)
    return format_html('{} <span class="quiet small" title="{}">{}</span>', job.cluster, rest, rest)


def _number(value: Any) -> Shown:
    return format_html('<span class="number">{}</span>', value)


def _count(value: int) -> Shown:
    return _number(f"{value:,}") if value else NOTHING


def _hosts(job: Job) -> Shown:
    names = [str(node.get("hostname", "")) for node in job.nodes]
    text = ", ".join(names[:2]) + (f" +{len(names) - 2}" if len(names) > 2 else "")
    return format_html('<span title="{}">{}</span>', ", ".join(names[:40]), text)


def footprint(job: Job) -> JobFootprint | None:
    """Return the row with the figures of an ended job; None if there is none yet."""
    return getattr(job, "footprint", None)


def _end(job: Job) -> Shown:
    return NOTHING if job.is_running else display.moment(job.stop_time)


def _energy(job: Job) -> Shown:
    found = footprint(job)
    return NOTHING if found is None or found.energy is None else _number(f"{found.energy:,.1f} kWh")


def _waiting(job: Job) -> Shown:
    return _number(duration(job.start_time - job.submit_time)) if job.submit_time else NOTHING


def _elapsed(job: Job) -> Shown:
    return format_html('<span class="number">{}</span> {}', duration(job.elapsed), display.walltime_used(job))


def _metric(slot: int, unit: dict[str, str]) -> Callable[[Job], Shown]:
    """Return what shows a metric's average as a share of the peak, or as an amount if there is no peak."""
    prefix, base = unit.get("prefix", ""), unit.get("base", "")

    def show(job: Job) -> Shown:
        found = footprint(job)
        average = None if found is None else getattr(found, f"avg_{slot}")
        if found is None or average is None:
            return NOTHING
        share = getattr(found, f"avg_share_{slot}")
        if share is None:
            return _number(scaled(average, prefix=prefix, base=base))
        return format_html(
            '<span class="used" title="{} on average"><meter max="{}" value="{}" aria-hidden="true"></meter>'
            '<span class="number">{}&nbsp;%</span></span>',
            scaled(average, prefix=prefix, base=base),
            PER_MILLE,
            min(share, PER_MILLE),
            f"{100 * share / PER_MILLE:.0f}",
        )

    return show


_WAITED = Case(When(submit_time__gt=0, then=F("start_time") - F("submit_time")))


FIXED = (
    Column("job", "Job", _job, lambda now: F("job_id")),
    Column("state", "State", display.state, lambda now: F("job_state")),
    Column("owner", "User, project", _owner, lambda now: Lower("user")),
    Column("cluster_name", "Cluster", _cluster, lambda now: Lower("cluster")),
    Column("nodes", "Nodes", lambda job: _count(job.num_nodes), lambda now: F("num_nodes"), is_number=True),
    Column("cores", "Cores", lambda job: _count(job.num_hwthreads), lambda now: F("num_hwthreads"), is_number=True),
    Column("gpus", "GPUs", lambda job: _count(job.num_acc), lambda now: F("num_acc"), is_number=True),
    Column("hosts", "Hosts", _hosts, needs="resources"),
    Column("started", "Start", lambda job: display.moment(job.start_time), lambda now: F("start_time")),
    Column("end", "End", _end, lambda now: F("start_time") + elapsed_until(now)),
    Column("elapsed", "Duration", _elapsed, elapsed_until, is_number=True),
    Column("waiting", "Waited", _waiting, lambda now: _WAITED, is_number=True),
    Column("energy", "Energy", _energy, lambda now: F("footprint__energy"), needs="footprint", is_number=True),
    Column("archive", "Archiving", display.archiving),
    Column("tag_chips", "Tags", lambda job: display.chips(job.tags.all())),
)
"""The columns but for those of metrics, in their order."""

USUAL = ("job", "state", "owner", "cluster_name", "nodes", "started", "elapsed", "archive", "tag_chips")
"""The columns of somebody who has chosen none."""

USUAL_COLUMNS = tuple(column for column in FIXED if column.name in USUAL)

METRIC = "metric:"


def _share_or_amount(slot: int) -> Callable[[int], Any]:
    return lambda now: Coalesce(f"footprint__avg_share_{slot}", f"footprint__avg_{slot}", output_field=FloatField())


def all_columns() -> dict[str, Column]:
    """Return all columns by name, in their order; those of metrics by the slots of footprints."""
    metrics = [
        Column(
            f"{METRIC}{name}",
            name,
            _metric(slot, unit_of(name)),
            _share_or_amount(slot),
            needs="footprint",
            is_number=True,
        )
        for name, slot in slots().items()
    ]
    return {column.name: column for column in (*FIXED, *metrics)}


def chosen_by(user: User, known: dict[str, Column]) -> list[Column]:
    """Return those of all columns that a user has chosen, or the usual ones; the first is always there."""
    kept = ListColumns.objects.filter(owner=user).values_list("names", flat=True).first()
    names = kept.split(",") if kept else USUAL
    return [known[name] for name in known if name in names or name == FIXED[0].name]


def keep(user: User, names: Iterable[str]) -> None:
    """Keep the choice of a user; none at all means the usual columns again."""
    wanted = set(names)
    known = [name for name in all_columns() if name in wanted]
    if known:
        ListColumns.objects.update_or_create(owner=user, defaults={"names": ",".join(known)})
    else:
        ListColumns.objects.filter(owner=user).delete()
