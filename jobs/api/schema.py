"""The API's description of the operations on jobs, usage and nodes: answers as Structs, parameters, refusals."""

from enum import Enum
from typing import Annotated, Any

from django.db import models
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from msgspec import Meta, Struct, defstruct

from accounts.api.schema import answered, operation, sent
from archive.format.cluster_json import SCOPES
from jobs.api import examples
from jobs.api.parameters import OMIT_TAGGED
from jobs.messages import (
    DeleteJob,
    EditMeta,
    EditMetaOfJob,
    Event,
    Int32,
    Int64,
    NodeStates,
    StartJob,
    StopJob,
    StopJobById,
)
from jobs.models import Job as JobRow
from jobs.overview.usage import GROUPS, GetUsageApiResponse
from jobs.rows.columns import COLUMNS, Column, Unit
from jobs.states import JobState

Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


# msgspec describes an enumeration of its own as a component, but knows no choices of Django.
_JobState: Any = Enum("JobState", {state.name: state.value for state in JobState})  # type: ignore[misc]  # not a literal


class JobLink(Struct, rename="camel"):
    """Another job."""

    id: int
    job_id: int


class JobLinkResultList(Struct):
    """Jobs on the same nodes; always empty here."""

    items: list[JobLink] | None
    count: int


def _type(column: Column) -> Any:
    """Return the type of a column in answers; small numbers have 32 bits, as in the database."""
    if column.type is int:
        return Int64 if isinstance(JobRow._meta.get_field(column.name), models.BigIntegerField) else Int32
    return column.type | None if column.nullable else column.type


def _answer(name: str, doc: str, **types: Any) -> Any:
    """Return the type of a job in answers: its columns, with some replaced by `types`; None leaves a column out."""
    types = {"job_state": _JobState} | types
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for column in COLUMNS:
        if column.name == "start_time":
            fields.append(("concurrent_jobs", JobLinkResultList))
        kind = types.get(column.name, _type(column))
        if column.optional:
            fields.append((column.name, kind, column.type()))
        elif kind is not None:
            fields.append((column.name, kind))
    return defstruct(name, fields, kw_only=True, rename="camel", module=__name__, namespace={"__doc__": doc})


JobMeta = _answer(
    "JobMeta", "A job in lists, answers of stop_job and meta.json; startTime in epoch seconds, durations in seconds."
)
Job = _answer(
    "Job",
    "A job in answers of tag_job and jobs/{id}; startTime as RFC 3339 in UTC.",
    start_time=Moment,
    statistics=None,
)


class GetJobsApiResponse(Struct):
    """A page of jobs; `items` is the number of jobs on it."""

    jobs: list[JobMeta]  # type: ignore[valid-type]  # made of the columns
    items: int
    page: int


class MetricStatistics(Struct):
    """Statistics of one series."""

    min: float
    avg: float
    max: float


class Series(Struct, omit_defaults=True):
    """The samples of one host or of one of its units; a missing sample is null."""

    hostname: str
    data: list[float | None]
    id: str = ""
    statistics: MetricStatistics | None = None


class StatsSeries(Struct, omit_defaults=True):
    """Statistics per time step over all series."""

    min: list[float | None]
    mean: list[float | None]
    max: list[float | None]
    percentiles: dict[str, list[float | None]] = {}


class JobMetric(Struct, rename="camel", omit_defaults=True):
    """A metric in one scope; timestep in seconds."""

    unit: Unit
    timestep: int
    series: list[Series]
    statistics_series: StatsSeries | None = None


class JobMetricWithName(Struct):
    """A metric with its name and scope."""

    name: str
    scope: str
    metric: JobMetric


class GetJobApiResponse(Struct):
    """A job with samples, sorted by name and scope."""

    meta: Job  # type: ignore[valid-type]
    data: list[JobMetricWithName]


class GetCompleteJobApiResponse(Struct):
    """A job with samples: sorted by name and scope; by name and scope with all-metrics=true; null with false."""

    meta: Job  # type: ignore[valid-type]
    data: list[JobMetricWithName] | dict[str, dict[str, JobMetric]] | None


class JobMetrics(Struct, rename="camel"):
    """Samples, sorted by name and scope."""

    job_metrics: list[JobMetricWithName]


class GetJobMetricsApiResponse(Struct):
    """The samples of a job; `error` is null, because an error has a status of its own."""

    data: JobMetrics
    error: None


class GetClustersApiResponse(Struct):
    """The clusters as their cluster.json files describe them."""

    clusters: list[dict[str, Any]]


class StartJobApiResponse(Struct):
    """The database id of a started job."""

    id: int


class DeleteJobApiResponse(Struct):
    """A message with the number or id of the deleted jobs."""

    msg: str


class NodeStateApiResponse(Struct):
    """A message with the number of nodes whose states were stored."""

    msg: str


class EventOutcome(Struct):
    """The answer to a line: its number, and the status and body that the single call would have had."""

    line: int
    operation: str
    status: int
    body: dict[str, Any]


def _query(name: str, kind: type | OpenApiTypes, description: str, **more: Any) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, description=description, **more)


def _path(name: str, description: str) -> OpenApiParameter:
    return OpenApiParameter(name, OpenApiTypes.INT64, OpenApiParameter.PATH, description=description)


_MONTH = r"^[0-9]{4}-(0[1-9]|1[0-2])$"
_ID = _path("id", "Database id of the job.")
_REFUSALS = [400, 404, 422]
_TAGS = {"application/json": {"type": "array", "items": {"$ref": "#/components/schemas/TagName"}}}
_DELETED: dict[int | tuple[int, str], Any] = {200: DeleteJobApiResponse}

list_jobs = operation(
    "Lists all jobs",
    {200: GetJobsApiResponse},
    tag="jobs",
    refusals=[400],
    parameters=[
        _query(
            "state",
            str,
            "One of these states, or any other word that a stop takes; may be given several times.",
            enum=JobState.values,
            many=True,
        ),
        _query("cluster", str, "Name of the cluster."),
        _query("start-time", str, "FROM-TO in epoch seconds, both inclusive.", pattern=r"^\d+-\d+$"),
        _query(
            "items-per-page", OpenApiTypes.INT64, "Jobs per page; -1 or a very large number: all, 0: none.", default=25
        ),
        _query("page", OpenApiTypes.INT64, "Number of the page, from 1.", default=1),
        _query("with-metadata", bool, "With metaData (e.g. the job script).", default=False),
        _query("project", str, "Name of the project."),
        _query("user", str, "Name of the job's owner."),
        _query("job-id", OpenApiTypes.INT64, "The scheduler's job id."),
        _query("sub-cluster", str, "Name of the subcluster."),
        _query("partition", str, "Name of the partition."),
        _query("tag", str, "TYPE:NAME of a tag."),
    ],
    examples=[answered("A page with one job", examples.LISTED)],
)
start_job = operation(
    "Adds a new job as running",
    {201: StartJobApiResponse},
    tag="jobs",
    refusals=[400, 422],
    request={"application/json": StartJob},
    examples=[sent("A job on two nodes", examples.START), answered("Its database id", examples.STARTED, 201)],
)
stop_job = operation(
    "Marks a running job as ended; the archive follows",
    {200: JobMeta},
    tag="jobs",
    refusals=_REFUSALS,
    request={"application/json": StopJob},
    examples=[sent("The end of a job", examples.STOP), answered("The job", examples.STOPPED)],
)
events = operation(
    "Carries out many starts, stops, tags and states of nodes, a line of JSON each",
    {(200, "application/x-ndjson"): EventOutcome},
    tag="jobs",
    refusals=[400],
    parameters=[
        OpenApiParameter(
            "Content-Encoding",
            str,
            OpenApiParameter.HEADER,
            description="gzip if the body is compressed.",
            enum=["gzip"],
        )
    ],
    request={"application/x-ndjson": Event},
    examples=[
        OpenApiExample("A start", examples.EVENT, request_only=True, media_type="application/x-ndjson"),
        OpenApiExample(
            "The job was started", examples.EVENT_OUTCOME, response_only=True, media_type="application/x-ndjson"
        ),
    ],
)
stop_job_by_id = operation(
    "Marks a running job as ended, by its database id",
    {200: JobMeta},
    tag="jobs",
    refusals=_REFUSALS,
    parameters=[_ID],
    request={"application/json": StopJobById},
    examples=[sent("The end of a job", examples.STOP_BY_ID), answered("The job", examples.STOPPED)],
)
get_job = operation(
    "Get a job with the samples of all metrics",
    {200: GetCompleteJobApiResponse},
    tag="jobs",
    refusals=_REFUSALS,
    parameters=[
        _ID,
        _query("all-metrics", bool, "true: samples as a map by metric and scope; false: none. Missing: as an array."),
    ],
)
get_job_metrics = operation(
    "Get the samples of a job",
    {200: GetJobMetricsApiResponse},
    tag="jobs",
    refusals=_REFUSALS,
    parameters=[
        _ID,
        _query("metric", str, "Name of a metric; may be given several times. Missing: all.", many=True),
        _query("scope", str, "A scope; may be given several times. Missing: all.", enum=SCOPES, many=True),
    ],
)
query_job = operation(
    "Get a job with the samples of some metrics",
    {200: GetJobApiResponse},
    tag="jobs",
    refusals=_REFUSALS,
    parameters=[_ID],
    request={"application/json": {"type": "array", "items": {"type": "string"}}},
    requires_body=False,
    examples=[sent("Two metrics", examples.METRICS)],
)
tag_job, untag_job = (
    operation(
        summary,
        {200: Job},
        tag="jobs",
        refusals=[400, 404],
        parameters=[_ID],
        request=_TAGS,
        examples=[sent("A tag", examples.TAGS)],
    )
    for summary in ("Adds one or more tags to a job", "Removes one or more tags from a job")
)
edit_meta = operation(
    "Sets a key of a job's metadata",
    {200: Job},
    tag="jobs",
    refusals=_REFUSALS,
    request={"application/json": EditMetaOfJob},
    examples=[sent("A remark on a job", examples.EDIT_OF_JOB), answered("The job", examples.EDITED)],
)
edit_meta_by_id = operation(
    "Sets a key of a job's metadata, by its database id",
    {200: Job},
    tag="jobs",
    refusals=[400, 404],
    parameters=[_ID],
    request={"application/json": EditMeta},
    examples=[sent("A remark", examples.EDIT), answered("The job", examples.EDITED)],
)
delete_tags = operation(
    "Deletes tags and removes them from all jobs",
    {(200, "text/plain"): OpenApiResponse(OpenApiTypes.STR, description="How many tags were deleted.")},
    tag="tags",
    refusals=[400],
    request=_TAGS,
    examples=[sent("A tag", examples.TAGS)],
)
list_clusters = operation(
    "Lists the configured clusters",
    {200: GetClustersApiResponse},
    tag="clusters",
    refusals=[400],
    parameters=[_query("cluster", str, "Name of a cluster; missing: all.")],
)
get_usage = operation(
    "Sums up what ended jobs used, in a month or on some days (UTC)",
    {200: GetUsageApiResponse},
    tag="usage",
    refusals=[400],
    parameters=[
        _query("month", str, "A month as 2026-10; missing, and without from: this month.", pattern=_MONTH),
        _query("from", OpenApiTypes.DATE, "The first day, in place of a month."),
        _query("to", OpenApiTypes.DATE, "The last day; missing: today."),
        _query("by", str, "What to sum up by.", enum=list(GROUPS), default="user"),
        _query("user", str, "Of this user."),
        _query("project", str, "Of this project."),
        _query("cluster", str, "On this cluster."),
        _query("sub-cluster", str, "On this subcluster."),
        _query("partition", str, "In this partition."),
        _query("state", str, "Of jobs that ended in this state.", enum=JobState.values[1:]),
    ],
    examples=[answered("The usage of a day", examples.USAGE)],
)
delete_job = operation(
    "Remove a job from the database",
    _DELETED,
    tag="jobs",
    refusals=_REFUSALS,
    request={"application/json": DeleteJob},
    examples=[sent("A job", examples.DELETE), answered("A deleted job", examples.DELETED)],
)
delete_job_by_id = operation(
    "Remove a job from the database, by its database id",
    _DELETED,
    tag="jobs",
    refusals=_REFUSALS,
    parameters=[_ID],
    examples=[answered("A deleted job", examples.DELETED)],
)
delete_job_before = operation(
    "Remove all jobs that started before a time",
    _DELETED,
    tag="jobs",
    refusals=_REFUSALS,
    parameters=[
        _path("ts", "Epoch seconds; jobs that started earlier are deleted."),
        _query(
            "omit-tagged",
            str,
            "Jobs to keep. all: those with a tag; user: those with a tag whose type is not app or jobClass.",
            enum=list(OMIT_TAGGED),
            default="none",
        ),
    ],
)
nodestate = operation(
    "Stores the latest state of each node of a cluster",
    {200: NodeStateApiResponse},
    tag="nodes",
    refusals=[400],
    request={"application/json": NodeStates},
    examples=[sent("One node", examples.NODE_STATES), answered("Stored", examples.NODE_STATES_STORED)],
)
used_nodes = operation(
    "Returns the nodes that running jobs use, by cluster",
    {200: {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}}},
    tag="nodes",
    refusals=[400],
    parameters=[
        _query("ts", OpenApiTypes.INT64, "Epoch seconds; only jobs that started earlier count.", required=True)
    ],
)
