"""The models of what is written down when a job has ended: its nodes, its footprint, and the usage of all jobs.

`jobs.ledger` writes these rows; `Job.is_booked` says whether it has done so for a job. docs/architecture.md has the
reasons for their shape.
"""

import time
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models, transaction

from jobs.querysets import DROPPED_AT_ONCE

if TYPE_CHECKING:
    FloatField = models.FloatField[float | None, float | None]
else:
    FloatField = models.FloatField

SLOTS = 12
"""Metrics of which a footprint has room for figures; FootprintMetric says which slot is whose."""

PER_MILLE = 1000
"""The shares of a footprint are whole numbers: 1000 is the whole. They end at MOST_SHARE."""

MOST_SHARE = 2**15 - 1


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
    waiting = models.BigIntegerField(help_text="Seconds from submission to start; 0 if unknown.")
    power = models.BigIntegerField(help_text="Average power of all nodes in milliwatts; 0 if it was not measured.")
    energy = RealField(null=True, help_text="Kilowatt hours; NULL if power was not measured.")
    walltime_share = models.SmallIntegerField(null=True, help_text="Of the walltime, per mille; NULL without one.")

    class Meta:
        indexes = [
            # Footprints in a range of time, newest first: the conditions on figures are checked row by row.
            models.Index(fields=["start_time", "job"], name="jobs_footprints_by_start"),
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
    waiting = models.BigIntegerField(help_text="Seconds.")
    power = models.BigIntegerField(help_text="Milliwatts.")

    class Meta:
        # Serves the look-up of a restored job.
        constraints = [
            models.UniqueConstraint(fields=["job_id", "cluster", "start_time"], name="jobs_deleted_run_once")
        ]

    def __str__(self) -> str:
        """Return cluster and job id."""
        return f"{self.cluster} {self.job_id}"
