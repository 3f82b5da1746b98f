"""The operations of the contract, the REST API of cc-backend 1.2, as facts: names, parameters, properties, statuses.

An object is a dict of its properties, None for one that holds no object; a list or a map of objects is a list with
that object. Both endings of a path, with and without its last slash, are the same.
"""

from typing import Any, NamedTuple


class Parameter(NamedTuple):
    """A parameter beside the body; `place` is query, path or formData."""

    name: str
    place: str
    required: bool = False


class Operation(NamedTuple):
    """An operation; `body` and `answer` are the objects of the JSON body and of the answer of success."""

    method: str
    path: str
    statuses: set[int]
    parameters: tuple[Parameter, ...] = ()
    body: Any = None
    answer: Any = None
    refusal: Any = None

    @property
    def key(self) -> tuple[str, str]:
        """Return method and path, without the names of path parameters."""
        parts = ["{}" if part.startswith("{") else part for part in self.path.strip("/").split("/")]
        return self.method, "/".join(["api", *parts])


def _properties(names: str, **objects: Any) -> dict[str, Any]:
    return dict.fromkeys(names.split()) | objects


def _query(*names: str) -> tuple[Parameter, ...]:
    return tuple(Parameter(name, "query") for name in names)


def _form(*names: str, required: bool = False) -> tuple[Parameter, ...]:
    return tuple(Parameter(name, "formData", required) for name in names)


_ID = (Parameter("id", "path", required=True),)

UNIT = _properties("base prefix")
STATISTICS = _properties("avg max min")
TAG = _properties("id name type")
RESOURCE = _properties("accelerators configuration hostname hwthreads")
JOB = _properties(
    "arrayJobId cluster duration exclusive id jobId jobState metaData monitoringStatus numAcc numHwthreads numNodes"
    " partition project smt startTime subCluster user walltime",
    concurrentJobs=_properties("count", items=[_properties("id jobId")]),
    resources=[RESOURCE],
    tags=[TAG],
)
JOB_META = JOB | {"statistics": [STATISTICS | {"unit": UNIT}]}
METRIC = _properties(
    "timestep",
    series=[_properties("data hostname id", statistics=STATISTICS)],
    statisticsSeries=_properties("max mean min percentiles"),
    unit=UNIT,
)
JOB_WITH_SAMPLES = {"data": [_properties("name scope", metric=METRIC)], "meta": JOB}
DELETED = _properties("msg")
USER = _properties("email name projects roles username")

JOB_STATES = {"running", "completed", "failed", "cancelled", "stopped", "timeout", "preempted", "out_of_memory"}
SCOPES = {"node", "socket", "memoryDomain", "core", "hwthread", "accelerator"}
ROLES = {"admin", "support", "manager", "user", "api"}

_REFUSAL = _properties("error status")
_JOB_STATUSES = {200, 400, 401, 403, 404, 422, 500}
_USER_STATUSES = {200, 400, 401, 403, 422, 500}


def _job(method: str, path: str, statuses: set[int] = _JOB_STATUSES, **more: Any) -> Operation:
    return Operation(method, path, statuses, refusal=_REFUSAL, **more)


OPERATIONS = [
    _job(
        "get",
        "/jobs/",
        {200, 400, 401, 403, 500},
        parameters=_query("state", "cluster", "start-time", "items-per-page", "page", "with-metadata"),
        answer=_properties("items page", jobs=[JOB_META]),
    ),
    _job("post", "/jobs/{id}", parameters=_ID, body=[None], answer=JOB_WITH_SAMPLES),
    _job("post", "/jobs/start_job/", {201, 400, 401, 403, 422, 500}, body=JOB_META, answer=_properties("id")),
    _job(
        "post",
        "/jobs/stop_job/",
        body=_properties("cluster jobId jobState startTime stopTime"),
        answer=JOB_META,
    ),
    _job(
        "post",
        "/jobs/stop_job/{id}",
        parameters=_ID,
        body=_properties("cluster jobId jobState startTime stopTime"),
        answer=JOB_META,
    ),
    _job(
        "post",
        "/jobs/tag_job/{id}",
        {200, 400, 401, 404, 500},
        parameters=_ID,
        body=[_properties("name type")],
        answer=JOB,
    ),
    _job("delete", "/jobs/delete_job/", body=_properties("cluster jobId startTime"), answer=DELETED),
    _job("delete", "/jobs/delete_job/{id}", parameters=_ID, answer=DELETED),
    _job(
        "delete",
        "/jobs/delete_job_before/{ts}",
        parameters=(Parameter("ts", "path", required=True),),
        answer=DELETED,
    ),
    Operation(
        "get",
        "/users/",
        _USER_STATUSES - {422},
        (Parameter("not-just-user", "query", required=True),),
        answer=[USER],
    ),
    Operation(
        "post",
        "/users/",
        _USER_STATUSES,
        _form("username", "password", "role", required=True) + _form("project", "name", "email"),
    ),
    Operation("delete", "/users/", _USER_STATUSES, _form("username", required=True)),
    Operation(
        "post",
        "/user/{id}",
        _USER_STATUSES,
        _ID + _form("add-role", "remove-role", "add-project", "remove-project"),
    ),
]


def names_in(described: Any) -> set[str]:
    """Return the names of all properties of an object, with those that they hold, as dotted paths."""
    if isinstance(described, list):
        return {f"[].{name}" for item in described for name in names_in(item)}
    names = set()
    for name, part in (described or {}).items():
        names |= {name} | {f"{name}.{inner}" for inner in names_in(part)}
    return names
