"""Jobs, tags, archive tasks, signs of life of workers, node states, refused calls and saved filters.

What is written down of ended jobs is in `jobs.records`.

A job's JSON columns hold the text exactly as it is sent again, so that lists pass it through without parsing it.
"""

import time
from functools import cached_property
from typing import Any

import msgspec
from django.conf import settings
from django.db import models
from django.db.models import Q

import jobs.records  # noqa: F401  Django looks for models in this module
from archive.format.layout import JobKey
from jobs.querysets import (
    AWAITS_ARCHIVE,
    ENDED_STATES,
    TO_BOOK,
    USUAL_STATES,
    ArchiveTaskQuerySet,
    JobQuerySet,
    RefusedCallQuerySet,
)
from jobs.states import CallOutcome, JobState, MonitoringStatus, RefusalState, TaskPurpose


class Tag(models.Model):
    """A label on jobs, set by staff or programs: a type and a name."""

    type = models.CharField(max_length=255)
    name = models.CharField(max_length=255)

    class Meta:
        ordering = ["type", "name"]
        constraints = [
            models.UniqueConstraint(fields=["type", "name"], name="jobs_tag_once"),
            models.CheckConstraint(condition=~Q(type="") & ~Q(name=""), name="jobs_tag_named"),
        ]

    def __str__(self) -> str:
        """Return `type:name`, the form of the list's filter."""
        return f"{self.type}:{self.name}"


class Job(models.Model):
    """A batch job as the scheduler reported it. Times are epoch seconds, durations seconds.

    Zero and the empty text mean "not reported". Columns that may be large come last, so that a database that stores
    rows in pages reads them only if they are selected.
    """

    job_id = models.BigIntegerField("job id", help_text="The scheduler's id; it may come again for a later run.")
    cluster = models.CharField(max_length=255)
    sub_cluster = models.CharField(max_length=255, blank=True)
    partition = models.CharField(max_length=255, blank=True)
    user = models.CharField(max_length=255)
    project = models.CharField(max_length=255, blank=True)
    array_job_id = models.BigIntegerField("array job id", default=0)
    num_nodes = models.IntegerField("nodes")
    num_hwthreads = models.IntegerField("hardware threads", default=0)
    num_acc = models.IntegerField("accelerators", default=0)
    exclusive = models.SmallIntegerField(
        default=1, choices=[(0, "shared by users"), (1, "exclusive"), (2, "shared by one user")]
    )
    monitoring_status = models.SmallIntegerField(choices=MonitoringStatus.choices, default=MonitoringStatus.ARCHIVING)
    smt = models.IntegerField("SMT", default=0)
    job_state = models.CharField("state", max_length=16, choices=JobState.choices, default=JobState.RUNNING)
    start_time = models.BigIntegerField()
    duration = models.BigIntegerField(default=0, help_text="Seconds; 0 while running.")
    walltime = models.BigIntegerField(default=0, help_text="Requested seconds.")
    submit_time = models.BigIntegerField(default=0, db_default=0, help_text="Epoch seconds.")
    is_booked = models.BooleanField(
        default=False, db_default=False, help_text="Whether nodes, footprint and usage of the ended job are booked."
    )
    resources = models.TextField(help_text="JSON: the nodes with their hardware threads and accelerators.")
    statistics = models.TextField(null=True, blank=True, help_text="JSON: metric to statistics; null until archived.")
    meta_data = models.TextField("metadata", null=True, blank=True, help_text="JSON: job name, script, scheduler info.")

    tags: "models.ManyToManyField[Tag, JobTag]" = models.ManyToManyField(Tag, through="JobTag", related_name="jobs")

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["-start_time", "-id"]
        permissions = [("tag_job", "Can tag jobs")]
        constraints = [
            # Serves start_job's duplicate rule, and the look-up by jobId of stop_job and delete_job.
            models.UniqueConstraint(fields=["job_id", "cluster", "start_time"], name="jobs_run_once"),
            models.CheckConstraint(condition=Q(job_id__gt=0, start_time__gt=0, num_nodes__gte=1), name="jobs_positive"),
            models.CheckConstraint(condition=Q(job_state__in=JobState.values), name="jobs_state_known"),
            models.CheckConstraint(condition=Q(exclusive__range=(0, 2)), name="jobs_exclusive_known"),
            models.CheckConstraint(condition=Q(monitoring_status__range=(0, 3)), name="jobs_monitoring_known"),
            models.CheckConstraint(condition=Q(duration__gte=0), name="jobs_duration_not_negative"),
        ]
        indexes = [
            # GET jobs/ without a filter, the admin's list, delete_job_before.
            models.Index(fields=["start_time", "id"], name="jobs_by_start"),
            # GET jobs/?cluster=..
            models.Index(fields=["cluster", "start_time", "id"], name="jobs_by_cluster"),
            # GET jobs/?user=.. and the jobs that a user sees in the admin.
            models.Index(fields=["user", "start_time"], name="jobs_by_user"),
            # GET jobs/?project=.. and the jobs that a manager sees in the admin.
            models.Index(fields=["project", "start_time"], name="jobs_by_project"),
            # GET jobs/?state=running, which adapters request without a limit: a small partial index.
            models.Index(fields=["start_time", "id"], name="jobs_running", condition=Q(job_state="running")),
            # GET jobs/?state=preempted and other states that few jobs are in; a start does not touch it.
            models.Index(
                fields=["job_state", "start_time", "id"],
                name="jobs_by_rare_state",
                condition=~Q(job_state__in=USUAL_STATES),
            ),
            # GET jobs/?state=completed&state=failed..: the newest jobs are running, often thousands. With the cluster,
            # so that jobs of other clusters are passed over in the index. A start does not touch it.
            models.Index(
                fields=["start_time", "id", "cluster"], name="jobs_ended", condition=Q(job_state__in=ENDED_STATES)
            ),
            # GET jobs/?partition=.. and ?sub-cluster=..
            models.Index(fields=["partition", "start_time"], name="jobs_by_partition"),
            models.Index(fields=["sub_cluster", "start_time"], name="jobs_by_sub_cluster"),
            # The jobs of an array; a start or stop of a job that is in none does not touch it.
            models.Index(fields=["array_job_id"], name="jobs_by_array", condition=Q(array_job_id__gt=0)),
            # The archive worker's search for finished jobs that wait, cluster by cluster.
            models.Index(fields=["cluster", "id"], name="jobs_to_archive", condition=AWAITS_ARCHIVE),
            # Ended jobs whose usage nobody has booked yet; empty but for some seconds. Neither starts nor stops of jobs
            # that are to be archived touch it: those are booked when they are archived.
            models.Index(fields=["id"], name="jobs_to_book", condition=TO_BOOK),
            # The admin's list and count of jobs whose archiving failed; starts and stops do not touch it.
            models.Index(fields=["start_time", "id"], name="jobs_archiving_failed", condition=Q(monitoring_status=2)),
        ]

    def __str__(self) -> str:
        """Return cluster and job id, as staff name a job."""
        return f"{self.cluster} {self.job_id}"

    @property
    def key(self) -> JobKey:
        """Return the key of the job's folder in the archive."""
        return JobKey(self.cluster, self.job_id, self.start_time)

    @property
    def is_running(self) -> bool:
        """Return whether the job has not been stopped."""
        return self.job_state == JobState.RUNNING

    @property
    def is_archived(self) -> bool:
        """Return whether the job is in the archive and no new load of it has been requested."""
        return self.monitoring_status == MonitoringStatus.ARCHIVED

    @property
    def awaits_archive(self) -> bool:
        """Return whether the job has finished and the archive worker has yet to write it."""
        return self.monitoring_status == MonitoringStatus.ARCHIVING and not self.is_running

    @property
    def is_given_up(self) -> bool:
        """Return whether the job was never archived and the archive worker no longer tries."""
        return self.monitoring_status == MonitoringStatus.FAILED

    @property
    def is_rewrite_given_up(self) -> bool:
        """Return whether a new load of the archived job was given up: it is archived as before, the reason kept."""
        task: ArchiveTask | None = getattr(self, "archive_task", None)
        return self.is_archived and task is not None and task.error != "" and task.edits == 0

    @property
    def stop_time(self) -> int | None:
        """Return when the job ended (epoch seconds); None while it runs."""
        return None if self.is_running else self.start_time + self.duration

    @property
    def elapsed(self) -> int:
        """Return how long the job ran, or has been running until now (seconds)."""
        return max(0, int(time.time()) - self.start_time) if self.is_running else self.duration

    @cached_property
    def nodes(self) -> list[dict[str, Any]]:
        """Return the resources decoded: one mapping per node, with at least `hostname`."""
        return msgspec.json.decode(self.resources, type=list[dict[str, Any]])

    @cached_property
    def metadata(self) -> dict[str, str | None]:
        """Return the metadata decoded; empty if there is none."""
        return msgspec.json.decode(self.meta_data, type=dict[str, str | None]) if self.meta_data else {}


class JobTag(models.Model):
    """A tag on a job."""

    # The constraint's index begins with the job, so that another on the job alone would be of no use.
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="tag_links", db_index=False)
    tag = models.ForeignKey(Tag, on_delete=models.CASCADE, related_name="job_links")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "tag"], name="jobs_tag_on_job_once")]

    def __str__(self) -> str:
        """Return the tag."""
        return str(self.tag)


class ArchiveTask(models.Model):
    """A worker's claim of one job, the edits that its meta.json has yet to follow, and the failed attempts.

    The UPDATE of a stop records in the job's own row that it waits (finished, monitoringStatus 1), so no job is lost
    with these rows. A row exists while a worker has claimed the job, after an attempt has failed, and, for an archived
    job, while its meta.json has yet to follow an edit.
    """

    job = models.OneToOneField(Job, on_delete=models.CASCADE, primary_key=True, related_name="archive_task")
    worker = models.CharField(
        max_length=255, blank=True, help_text="The worker that has claimed the job, as host:process:number; or empty."
    )
    purpose = models.CharField(
        max_length=8,
        choices=TaskPurpose.choices,
        default=TaskPurpose.WRITE,
        db_default=TaskPurpose.WRITE,
        help_text="What the job was claimed for.",
    )
    not_before = models.DateTimeField(
        help_text="No other worker claims the job until then: the end of a lease that is renewed, or of a pause."
    )
    edits = models.IntegerField(
        default=0, help_text="Counts edits of the job, so that none is missed while it is written."
    )
    attempts = models.IntegerField(default=0, help_text="Failed attempts so far.")
    error = models.TextField(blank=True, help_text="Why the last attempt failed.")
    of_source = models.BooleanField(
        default=False, db_default=False, help_text="Whether the last attempt failed because of the metric source."
    )

    objects = ArchiveTaskQuerySet.as_manager()

    def __str__(self) -> str:
        """Return the job's row id and how often archiving failed."""
        return f"job {self.pk}: {self.attempts} failed attempts"


class WorkerHeartbeat(models.Model):
    """The last sign of life of an archive worker; the row goes when the worker ends, and stays if it is killed."""

    worker = models.CharField(max_length=255, primary_key=True, help_text="As in ArchiveTask.")
    host = models.CharField(max_length=255)
    process = models.IntegerField(help_text="The number of the process on its host.")
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(help_text="The last sign of life, by the database's clock.")
    archived = models.BigIntegerField(default=0, help_text="Jobs archived since the start.")
    failed = models.BigIntegerField(default=0, help_text="Failed attempts since the start.")
    seconds = models.FloatField(
        default=0, db_default=0, help_text="Seconds that the archived jobs were in work, summed."
    )
    clusters = models.JSONField(
        default=dict, help_text='Cluster to the epoch seconds of its last "success" and "failure", null for never.'
    )

    def __str__(self) -> str:
        """Return host and process."""
        return f"{self.host}:{self.process}"


class FreeSpace(models.Model):
    """The free bytes of the archive's file system, once an hour, as an archive worker saw them; kept for two days."""

    hour = models.IntegerField(primary_key=True, help_text="Hours since the epoch.")
    free = models.BigIntegerField(help_text="Bytes.")

    def __str__(self) -> str:
        """Return the hour."""
        return str(self.hour)


class CallCount(models.Model):
    """How many calls of the API, or refused log-ins, of one kind came from one source within an hour; kept for a day.

    Times are epoch seconds. The words of clients are in `operation`, `reason`, `address` and `message`.
    """

    hour = models.IntegerField(help_text="Hours since the epoch.")
    source = models.CharField(
        max_length=255, help_text="The prefix of a token, 'user NAME' for a session, or an address."
    )
    is_known = models.BooleanField(help_text="Whether the source was authenticated.")
    operation = models.CharField(max_length=255)
    outcome = models.CharField(max_length=8, choices=CallOutcome.choices)
    reason = models.CharField(max_length=255, blank=True, help_text="Status and message, without what varies.")
    calls = models.BigIntegerField()
    first_at = models.BigIntegerField()
    last_at = models.BigIntegerField()
    address = models.CharField(max_length=255, blank=True, help_text="Of the last call.")
    message = models.CharField(max_length=255, blank=True, help_text="Of the last call.")

    class Meta:
        constraints = [
            # Serves the statement that adds calls, and the deletion of old rows.
            models.UniqueConstraint(
                fields=["hour", "source", "operation", "outcome", "reason"], name="jobs_calls_counted_once"
            )
        ]

    def __str__(self) -> str:
        """Return the source and the operation."""
        return f"{self.source}: {self.operation}"


class NodeState(models.Model):
    """The last state of one node that its cluster's scheduler reported; POST nodestate/ replaces it."""

    cluster = models.CharField(max_length=255)
    hostname = models.CharField(max_length=255)
    states = models.TextField(help_text='JSON: the scheduler\'s words, e.g. ["IDLE", "DRAIN"].')
    cpus_allocated = models.IntegerField("CPUs allocated", default=0)
    memory_allocated = models.BigIntegerField(default=0, help_text="In the scheduler's unit; Slurm counts MiB.")
    gpus_allocated = models.IntegerField("GPUs allocated", default=0)
    jobs_running = models.IntegerField(default=0)
    reported_at = models.BigIntegerField(help_text="Epoch seconds.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["cluster", "hostname"], name="jobs_node_once")]

    def __str__(self) -> str:
        """Return cluster and hostname."""
        return f"{self.cluster} {self.hostname}"


class RefusedCall(models.Model):
    """A call of the API that was authorised and refused, kept until it is replayed or grows old.

    Status and reason are those of the last attempt. `kind` is the reason without what differs from call to call. The
    columns that may be large come last.
    """

    received_at = models.BigIntegerField("received", help_text="Epoch seconds.")
    token = models.CharField(
        max_length=100, blank=True, help_text="Beginning and name of the API token; empty if a session was used."
    )
    user = models.CharField(max_length=150, help_text="The account that called.")
    address = models.CharField(max_length=64, help_text="The client's address.")
    operation = models.CharField(
        max_length=16, help_text='"start_job", for example; "events" if a line does not say which one.'
    )
    row_id = models.CharField(max_length=40, blank=True, help_text="The database id in the path of the call.")
    status = models.SmallIntegerField(help_text="The HTTP status of the answer.")
    kind = models.CharField("reason in general", max_length=200)
    state = models.SmallIntegerField(choices=RefusalState.choices, default=RefusalState.OPEN)
    is_cut = models.BooleanField(default=False, help_text="Whether only the beginning of the body is kept.")
    handled_by = models.CharField("by", max_length=255, blank=True, help_text="Who replayed or dismissed it last.")
    handled_at = models.BigIntegerField(null=True, blank=True, help_text="Epoch seconds.")
    job_row = models.BigIntegerField(null=True, blank=True, help_text="The database id of the job that came of it.")
    reason = models.TextField()
    body = models.TextField(blank=True, help_text="As it was sent, cut after 64 kB.")
    corrected = models.TextField(blank=True, help_text="The body that was replayed in its place, if another one.")

    objects = RefusedCallQuerySet.as_manager()

    class Meta:
        verbose_name = "refused call"
        constraints = [
            models.CheckConstraint(condition=Q(state__in=RefusalState.values), name="jobs_refusal_state_known")
        ]
        indexes = [
            # The groups of the page "Refused calls", counted from the index alone, and the calls of one group.
            models.Index(
                fields=["state", "operation", "kind", "token", "user", "received_at", "id"], name="jobs_refused_alike"
            ),
        ]

    def __str__(self) -> str:
        """Return the operation and the reason."""
        return f"{self.operation}: {self.reason[:100]}"

    @property
    def is_open(self) -> bool:
        """Return whether the call waits to be replayed or dismissed."""
        return self.state == RefusalState.OPEN


class SavedFilter(models.Model):
    """A job list to come back to: a name for the list's filters and search."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="saved_filters")
    name = models.CharField(max_length=100)
    query = models.TextField(help_text="The query part of the list's address, without the question mark.")

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["owner", "name"], name="jobs_filter_once")]

    def __str__(self) -> str:
        """Return the name."""
        return self.name


class ListColumns(models.Model):
    """The columns of the job list that a user has chosen."""

    owner = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="list_columns"
    )
    names = models.TextField(help_text="Names of columns, separated by commas.")

    def __str__(self) -> str:
        """Return the names."""
        return self.names
