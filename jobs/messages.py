"""The request bodies of schedulers and their hooks: start_job, stop_job, tag_job, delete_job and nodestate.

Each is a msgspec Struct: decoding and validating are one step in C. Absent keys are None; every key may be null, which
means the same. Keys of newer clients that this server ignores are listed, so that a mistyped key can be refused.
"""

from typing import Annotated, ClassVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from archive.format.meta_json import EXCLUSIVE_OF_SHARED
from jobs.states import FINAL_WORDS, WORDS
from jobs.text import LATEST_TIME

Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Time = Annotated[int, Meta(ge=-(2**63), le=LATEST_TIME)]
Count32 = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Count64 = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Text = Annotated[str, Meta(max_length=255)]
StartState = Annotated[str, Meta(extra_json_schema={"enum": WORDS})]
FinalState = Annotated[str, Meta(extra_json_schema={"enum": FINAL_WORDS})]
Ignored = Raw | UnsetType
Kept = Annotated[Raw | UnsetType, Meta(extra_json_schema={"type": "integer"})]  # a number, or ignored
Metrics = list[str]  # the body of jobs/{id}: names of metrics


class Message(Struct, forbid_unknown_fields=True, rename="camel"):
    """Base of all bodies: camel-case keys, unknown keys refused.

    `required` names the keys without which a call is refused, for the description: the services check them, each with
    a message of its own.
    """

    required: ClassVar[tuple[str, ...]] = ()


class Resource(Message, omit_defaults=True):
    """One node of a job, with the hardware threads and accelerators that the job uses."""

    required = ("hostname",)
    hostname: Text | None = None
    hwthreads: list[Int32] | None = None
    accelerators: list[Text] | None = None
    configuration: str | None = None


class TagName(Message):
    """A tag: its type and name; `id` and `scope` are accepted and ignored."""

    required = ("type", "name")
    type: Text | None = None
    name: Text | None = None
    id: Ignored = UNSET
    scope: Ignored = UNSET


class StartJob(Message):
    """The body of start_job; docs/api.md describes the behaviour. Times are epoch seconds, walltime seconds.

    Without numNodes, the resources are counted. submitTime and requestedMemory are kept in the metadata if they are
    whole numbers above zero.
    """

    required = ("jobId", "user", "cluster", "startTime", "resources")
    job_id: Int64 | None = None
    user: Text | None = None
    project: Text | None = None
    cluster: Text | None = None
    sub_cluster: Text | None = None
    partition: Text | None = None
    array_job_id: Int64 | None = None
    num_nodes: Int32 | None = None
    num_hwthreads: Int32 | None = None
    num_acc: Int32 | None = None
    exclusive: Annotated[Int32, Meta(extra_json_schema={"enum": [0, 1, 2, 3]})] | None = None
    shared: Annotated[str, Meta(extra_json_schema={"enum": list(EXCLUSIVE_OF_SHARED)})] | None = None
    monitoring_status: Annotated[Int32, Meta(extra_json_schema={"enum": [0, 1, 2, 3]})] | None = None
    smt: Int32 | None = None
    job_state: StartState | None = None
    start_time: Time | None = None
    walltime: Int64 | None = None
    resources: list[Resource] | None = None
    tags: list[TagName] | None = None
    meta_data: dict[str, str | None] | None = None
    submit_time: Kept = UNSET
    requested_memory: Kept = UNSET
    id: Ignored = UNSET
    duration: Ignored = UNSET
    energy: Ignored = UNSET
    energy_footprint: Ignored = UNSET
    footprint: Ignored = UNSET
    statistics: Ignored = UNSET
    concurrent_jobs: Ignored = UNSET


class StopJob(Message):
    """The body of stop_job."""

    required = ("jobId", "stopTime")
    stop_time: Time | None = None
    job_state: FinalState | None = None
    job_id: Int64 | None = None
    cluster: str | None = None
    start_time: Time | None = None


class StopJobById(Message):
    """The body of stop_job/{id}: the path names the job."""

    required = ("stopTime",)
    stop_time: Time | None = None
    job_state: FinalState | None = None
    job_id: Ignored = UNSET
    cluster: Ignored = UNSET
    start_time: Ignored = UNSET


class DeleteJob(Message):
    """The body of delete_job."""

    required = ("jobId",)
    job_id: Int64 | None = None
    cluster: str | None = None
    start_time: Int64 | None = None


class EditMeta(Message):
    """The body of edit_meta/{id}: a key of the metadata and its new value."""

    required = ("key", "value")
    key: str | None = None
    value: str | None = None


class EditMetaOfJob(Message):
    """The body of edit_meta: the keys of the job, and the change."""

    required = ("jobId", "payload")
    job_id: Int64 | None = None
    cluster: str | None = None
    start_time: Int64 | None = None
    payload: EditMeta | None = None


class NodeReport(Message):
    """One node: its state in the scheduler's words, and its resources in use; memory in the scheduler's unit."""

    required = ("hostname",)
    hostname: Text | None = None
    states: list[Text] | Text | None = None
    cpus_allocated: Count32 | None = None
    memory_allocated: Count64 | None = None
    gpus_allocated: Count32 | None = None
    jobs_running: Count32 | None = None


class NodeStates(Message):
    """The body of nodestate: the nodes of a cluster as they are now."""

    required = ("cluster", "nodes")
    cluster: Text | None = None
    nodes: list[NodeReport] | None = None


_BODIES = [{"$ref": f"#/components/schemas/{name}"} for name in ("StartJob", "StopJob", "StopJobById", "NodeStates")]
_TAGS = {"type": "array", "items": {"$ref": "#/components/schemas/TagName"}}
EVENTS = ("start_job", "stop_job", "tag_job", "nodestate")
"""The operations that a line of events may name."""


class Event(Message):
    """A line of the body of events: an operation with the body that it takes alone.

    `id` is a job's database id: tag_job needs it, stop_job may have it in place of a jobId in its body.
    """

    required = ("operation", "body")
    operation: Annotated[str, Meta(extra_json_schema={"enum": EVENTS})]
    id: Int64 | None = None
    body: Annotated[Ignored, Meta(extra_json_schema={"anyOf": [*_BODIES, _TAGS]})] = UNSET


def encode_resources(resources: list[Resource]) -> str:
    """Return resources as the JSON text to store: hostname first, empty lists and nulls omitted."""
    for resource in resources:
        resource.hwthreads = resource.hwthreads or None
        resource.accelerators = resource.accelerators or None
        resource.configuration = resource.configuration or None
    return msgspec.json.encode(resources).decode()
