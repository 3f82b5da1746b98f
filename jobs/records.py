"""The models of what is written down: of ended jobs nodes, footprint and usage; of bulk changes their jobs; rules.

`jobs.ledger` writes the former; `Job.is_booked` says whether it has done so for a job. `jobs.bulk` writes the latter.
docs/architecture.md has the reasons for their shape.
"""

import struct
import time
import zlib
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import msgspec
from django.conf import settings
from django.db import models, transaction

from jobs.querysets import DROPPED_AT_ONCE
from jobs.states import BulkKind, BulkState, PartState

if TYPE_CHECKING:
    FloatField = models.FloatField[float | None, float | None]
else:
    FloatField = models.FloatField

SLOTS = 12
"""Metrics of which a footprint has room for figures; FootprintMetric says which slot is whose."""

PER_MILLE = 1000
"""The shares of a footprint are whole numbers: 1000 is the whole. They end at MOST_SHARE."""

MOST_SHARE = 2**15 - 1

LONGEST_NAME = 200
"""Characters of a job's name in its footprint."""


class NodeChangeQuerySet(models.QuerySet["NodeChange"]):
    """What is known of the nodes' states over time."""

    def drop_old(self) -> int:
        """Delete changes older than NODE_HISTORY_DAYS, at most DROPPED_AT_ONCE; return how many.

        They are looked for at the end of the primary key, so that it takes a millisecond whatever there is.
        """
        last_day = int(time.time()) - settings.NODE_HISTORY_DAYS * 86_400
        with transaction.atomic():  # what another process is deleting is left to it
            oldest = self.select_for_update(skip_locked=True).order_by("pk").values("pk")[:DROPPED_AT_ONCE]
            return self.filter(at__lt=last_day, pk__in=oldest).delete()[0]


class RealField(FloatField):
    """A number with seven digits: four bytes on PostgreSQL."""

    def db_type(self, connection: Any) -> str:
        """Return the type of the column."""
        return "real"


class Node(models.Model):
    """A host that an ended job ran on; JobNode names it by its short id."""

    id = models.AutoField(primary_key=True)
    cluster = models.CharField(max_length=255)
    hostname = models.CharField(max_length=255)

    class Meta:
        # Serves the look-up of a host's id.
        constraints = [models.UniqueConstraint(fields=["cluster", "hostname"], name="jobs_host_once")]

    def __str__(self) -> str:
        """Return cluster and hostname."""
        return f"{self.cluster} {self.hostname}"


class NodeChange(models.Model):
    """That a node was reported in other states than before. A report without news leaves no row."""

    cluster = models.CharField(max_length=255)
    hostname = models.CharField(max_length=255)
    at = models.BigIntegerField(help_text="Of the report, epoch seconds.")
    before = models.TextField(
        help_text='JSON: the states of the report before, e.g. ["IDLE"]; empty for the first one.'
    )
    states = models.TextField(help_text="JSON: the states since then.")

    objects = NodeChangeQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["cluster", "hostname", "at"], name="jobs_node_changes")]

    def __str__(self) -> str:
        """Return cluster, hostname and time."""
        return f"{self.cluster} {self.hostname} at {self.at}"


class JobNode(models.Model):
    """That an ended job ran on a node. Times are epoch seconds.

    The key is all there is, in the order in which it is asked: which jobs were on this node then? A large centre has
    tens of millions of rows, so there is no other index, and no foreign key that the database would look up for each:
    `jobs.ledger` deletes a job's rows with the job, by its resources.
    """

    pk = models.CompositePrimaryKey("node", "start_time", "end_time", "job")
    node = models.ForeignKey(Node, on_delete=models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False)
    start_time = models.BigIntegerField()
    end_time = models.BigIntegerField()
    job = models.ForeignKey(
        "jobs.Job", on_delete=models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False
    )

    def __str__(self) -> str:
        """Return the ids of job and node."""
        return f"job {self.job_id} on node {self.node_id}"


class FootprintMetric(models.Model):
    """The metric whose figures stand in a slot of all footprints (1 to SLOTS); it keeps the slot for ever."""

    slot = models.SmallIntegerField(primary_key=True)
    name = models.CharField(max_length=255, unique=True)

    def __str__(self) -> str:
        """Return the metric's name."""
        return self.name


class JobFootprint(models.Model):
    """What an ended job used: the figures that are booked as usage, and those of each metric in the metric's slot.

    There is one row for each booked job. A figure is NULL if it was not measured. Of the metric in slot N:

    - `avg_N`, `max_N`: average and maximum, per node, or per accelerator for metrics of accelerators, in the unit of
      cluster.json;
    - `avg_share_N`, `max_share_N`: the same as shares of the peak of the job's subcluster, per mille;
    - `imbalance_N`: by how much the least average of a node (or accelerator) stays behind the greatest, per mille of
      the greatest;
    - `idle_N`: the share of samples below a tenth of the metric's normal value, per mille.
    """

    job = models.OneToOneField(
        "jobs.Job", on_delete=models.CASCADE, primary_key=True, related_name="footprint", db_constraint=False
    )
    start_time = models.BigIntegerField(help_text="Epoch seconds.")
    duration = models.BigIntegerField(help_text="Seconds.")
    num_nodes = models.IntegerField()
    cores = models.IntegerField(help_text="Cores that the job had; 0 if unknown.")
    accelerators = models.IntegerField()
    waiting = models.BigIntegerField(help_text="Seconds from submission to start, at least 1; 0 if unknown.")
    power = models.BigIntegerField(help_text="Average power of all nodes in milliwatts; 0 if it was not measured.")
    energy = RealField(null=True, help_text="Kilowatt hours; NULL if power was not measured.")
    walltime_share = models.SmallIntegerField(null=True, help_text="Of the walltime, per mille; NULL without one.")
    name = models.TextField(null=True, help_text="Of the job; empty without one, NULL if only its metadata says it.")

    class Meta:
        indexes = [
            # Footprints in a range of time, newest first: the conditions on figures are checked row by row, those on
            # names in the index alone.
            models.Index(fields=["start_time", "job", "name"], name="jobs_footprints_by_start"),
        ]

    def __str__(self) -> str:
        """Return the job's row id."""
        return f"job {self.pk}"


for _slot in range(1, SLOTS + 1):
    for _figure in ("avg", "max"):
        JobFootprint.add_to_class(f"{_figure}_{_slot}", RealField(null=True))
    for _figure in ("avg_share", "max_share", "imbalance", "idle"):
        JobFootprint.add_to_class(f"{_figure}_{_slot}", models.SmallIntegerField(null=True))


class UsageAmounts(models.Model):
    """The sums of a row of Usage."""

    started = models.BigIntegerField(default=0, help_text="Jobs that started on this day, and have ended since.")
    jobs = models.BigIntegerField(default=0, help_text="Jobs that ended on this day.")
    waited = models.BigIntegerField(default=0, db_default=0, help_text="Of these jobs, those with a known wait.")
    waiting_seconds = models.BigIntegerField(default=0, help_text="Of these jobs, from submission to start.")
    node_seconds = models.BigIntegerField(default=0)
    core_seconds = models.BigIntegerField(default=0)
    acc_seconds = models.BigIntegerField("accelerator seconds", default=0)
    energy = models.BigIntegerField(default=0, help_text="Joules.")

    class Meta:
        abstract = True


class Usage(UsageAmounts):
    """What the ended jobs of one kind used on one day (UTC), jobs that were deleted since included.

    A job's seconds and energy are split at midnight UTC. Its start is counted on its day, the job itself and its
    waiting time on the day of its end.
    """

    day = models.IntegerField(help_text="Days since the epoch, UTC.")
    cluster = models.CharField(max_length=255)
    sub_cluster = models.CharField(max_length=255)
    partition = models.CharField(max_length=255)
    project = models.CharField(max_length=255)
    user = models.CharField(max_length=255)
    job_state = models.CharField(max_length=16)

    class Meta:
        constraints = [
            # Serves the statement that adds amounts, and sums over a range of days.
            models.UniqueConstraint(
                fields=["day", "cluster", "sub_cluster", "partition", "project", "user", "job_state"],
                name="jobs_usage_once",
            )
        ]
        indexes = [
            # The usage of a user, and of a project, over a range of days.
            models.Index(fields=["user", "day"], name="jobs_usage_by_user"),
            models.Index(fields=["project", "day"], name="jobs_usage_by_project"),
        ]

    def __str__(self) -> str:
        """Return day, cluster, project and user."""
        return f"day {self.day}: {self.cluster} {self.project} {self.user}"


class DeletedJob(models.Model):
    """A job that was deleted from the database and whose usage stays booked.

    If it is restored from the archive, its usage is not booked twice.
    """

    job_id = models.BigIntegerField("job id")
    cluster = models.CharField(max_length=255)
    start_time = models.BigIntegerField(help_text="Epoch seconds.")
    duration = models.BigIntegerField(help_text="Seconds.")
    sub_cluster = models.CharField(max_length=255)
    partition = models.CharField(max_length=255)
    project = models.CharField(max_length=255)
    user = models.CharField(max_length=255)
    job_state = models.CharField(max_length=16)
    num_nodes = models.IntegerField()
    cores = models.IntegerField()
    accelerators = models.IntegerField()
    waiting = models.BigIntegerField(help_text="As in JobFootprint.")
    power = models.BigIntegerField(help_text="Milliwatts.")

    class Meta:
        # Serves the look-up of a restored job.
        constraints = [
            models.UniqueConstraint(fields=["job_id", "cluster", "start_time"], name="jobs_deleted_run_once")
        ]

    def __str__(self) -> str:
        """Return cluster and job id."""
        return f"{self.cluster} {self.job_id}"


class BulkCounts(msgspec.Struct, omit_defaults=True):
    """What became of the jobs of a bulk change.

    `changed` were changed, `same` needed no change, `others` were changed by somebody else after they were selected,
    `gone` were deleted or are no longer visible, `refused` could not be changed, for `reasons`, the first ones. Of the
    changed ones `restored` have their old value back, and `kept` have not, since they were changed again or deleted.
    """

    changed: int = 0
    same: int = 0
    others: int = 0
    gone: int = 0
    refused: int = 0
    reasons: list[str] = msgspec.field(default_factory=list)
    restored: int = 0
    kept: int = 0


class BulkChange(models.Model):
    """One change of many jobs, made in steps. Times are epoch seconds."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="bulk_changes")
    kind = models.CharField(max_length=8, choices=BulkKind.choices)
    state = models.CharField(max_length=10, choices=BulkState.choices, default=BulkState.SELECTING)
    created_at = models.BigIntegerField()
    begun_at = models.BigIntegerField(null=True, help_text="When it was confirmed.")
    query = models.TextField(help_text="The query part of the list's address from which the jobs were selected.")
    conditions = models.TextField(blank=True, help_text="The same in words.")
    place_start = models.BigIntegerField(null=True, help_text="Start of the last job that was selected.")
    place_row = models.BigIntegerField(null=True, help_text="The database id of that job.")
    selected = models.BigIntegerField(default=0, help_text="Jobs that were selected.")
    values = models.TextField(default="[]", help_text="JSON: project, partition and number of jobs, for each pair.")
    wanted = models.TextField(default="{}", help_text="JSON: the new project and partition, or type and name of a tag.")
    counts = models.TextField(default="{}", help_text="JSON: see BulkCounts.")
    entry = models.BigIntegerField(null=True, help_text="The entry of the history.")
    undo_entry = models.BigIntegerField(null=True, help_text="The entry of the history that says it was undone.")

    class Meta:
        verbose_name = "bulk change"
        constraints = [
            models.CheckConstraint(condition=models.Q(kind__in=BulkKind.values), name="jobs_bulk_kind_known"),
            models.CheckConstraint(condition=models.Q(state__in=BulkState.values), name="jobs_bulk_state_known"),
        ]

    def __str__(self) -> str:
        """Return what it does, and with how many jobs."""
        return f"{self.get_kind_display()}: {self.selected:,} jobs"

    @property
    def goes_on(self) -> bool:
        """Return whether there are steps to make."""
        return self.state in (BulkState.SELECTING, BulkState.RUNNING, BulkState.UNDOING)

    @property
    def new_values(self) -> dict[str, str]:
        """Return `wanted` decoded."""
        return msgspec.json.decode(self.wanted, type=dict[str, str])

    @property
    def outcome(self) -> BulkCounts:
        """Return `counts` decoded."""
        return msgspec.json.decode(self.counts, type=BulkCounts)

    @property
    def old_values(self) -> list[tuple[str, str, int]]:
        """Return `values` decoded."""
        return msgspec.json.decode(self.values, type=list[tuple[str, str, int]])


class BulkPart(models.Model):
    """Some hundred jobs of a bulk change: at first those that were selected, then those that were changed.

    It stays, at three to six bytes a job, so that a job's history has the change without an entry for each job.
    """

    change = models.ForeignKey(BulkChange, on_delete=models.CASCADE, related_name="parts", db_index=False)
    state = models.SmallIntegerField(choices=PartState.choices, default=PartState.TO_DO)
    first = models.BigIntegerField(help_text="The least database id of its jobs.")
    last = models.BigIntegerField(help_text="The greatest one.")
    jobs = models.BinaryField(help_text="The database ids: differences of 64-bit numbers in ascending order, deflated.")
    before = models.TextField(
        blank=True, help_text="JSON: the pairs of project and partition, and, of each job, which one it had."
    )
    kept = models.BinaryField(default=b"", help_text="The jobs that undoing left as they were, in the form of `jobs`.")

    class Meta:
        indexes = [
            # The next part to do.
            models.Index(fields=["change", "state", "id"], name="jobs_bulk_next"),
            # The changes of a job, for its history.
            models.Index(fields=["last", "first"], name="jobs_bulk_of_job"),
        ]

    def __str__(self) -> str:
        """Return the range of its jobs."""
        return f"jobs {self.first} to {self.last}"

    @classmethod
    def of(cls, change: BulkChange, values: dict[int, tuple[str, str]]) -> "BulkPart":
        """Return a part, not stored, of jobs by database id with their projects and partitions."""
        part = cls(change=change)
        part.hold(values)
        return part

    def hold(self, values: dict[int, tuple[str, str]]) -> None:
        """Make these its jobs."""
        row_ids = sorted(values)
        pairs = list(dict.fromkeys(values.values()))
        self.first, self.last = (row_ids[0], row_ids[-1]) if row_ids else (0, -1)
        self.jobs = packed(row_ids)
        numbers = {pair: number for number, pair in enumerate(pairs)}
        which = [numbers[values[row_id]] for row_id in row_ids] if len(pairs) > 1 else []
        self.before = msgspec.json.encode((pairs, which)).decode()
        self.__dict__.pop("values", None)

    @cached_property
    def values(self) -> dict[int, tuple[str, str]]:
        """Return the jobs by database id, in ascending order, with the projects and partitions that they had."""
        pairs, which = msgspec.json.decode(self.before, type=tuple[list[tuple[str, str]], list[int]])
        return {row_id: pairs[which[place] if which else 0] for place, row_id in enumerate(unpacked(bytes(self.jobs)))}


class TagRule(models.Model):
    """A search and a tag: jobs that match get the tag when they are archived.

    The tag is named without a constraint: a rule whose tag was deleted stays, does nothing, and is on the page Health.
    """

    words = models.CharField("search", max_length=1000, help_text="As in the search box, with fields alone.")
    tag = models.ForeignKey("jobs.Tag", on_delete=models.DO_NOTHING, related_name="rules", db_constraint=False)
    is_enabled = models.BooleanField("enabled", default=True)
    error = models.CharField(max_length=500, blank=True, help_text="Why the rule could not be applied last.")

    class Meta:
        verbose_name = "tag rule"
        constraints = [models.UniqueConstraint(fields=["words", "tag"], name="jobs_tag_rule_once")]

    def __str__(self) -> str:
        """Return the words."""
        return self.words


def packed(row_ids: Sequence[int]) -> bytes:
    """Return database ids in ascending order as few bytes."""
    steps = [after - before for before, after in pairwise((0, *row_ids))]
    return zlib.compress(struct.pack(f"<{len(steps)}q", *steps))


def unpacked(data: bytes) -> list[int]:
    """Return the database ids that were packed."""
    return list(accumulate(step for (step,) in struct.iter_unpack("<q", zlib.decompress(data)))) if data else []


def bulk_entries_of(row_id: int) -> list[int]:
    """Return the entries of the history that tell of bulk changes of a job."""
    parts = BulkPart.objects.filter(last__gte=row_id, first__lte=row_id).exclude(state=PartState.TO_DO)
    found = []
    for part in parts.select_related("change").order_by():
        if row_id in unpacked(bytes(part.jobs)):
            found.append(part.change.entry)
            if part.state == PartState.UNDONE and row_id not in unpacked(bytes(part.kept)):
                found.append(part.change.undo_entry)
    return [entry for entry in found if entry is not None]
