"""Read meta.json: accept the variants of other writers, and report errors precisely."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from archive.exceptions import DECODE_ERRORS, DocumentError, reason
from archive.format.keys import with_known_keys
from archive.format.layout import is_valid_cluster_name

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]

EXCLUSIVE_OF_SHARED = {"none": 1, "single_user": 2, "multi_user": 0}
"""The values of `shared`, which newer archives have in place of `exclusive`."""


class Resource(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A job's share of a host: hwthread numbers, accelerator ids, free text; without hwthreads, the whole host."""

    hostname: str
    hwthreads: list[int] = msgspec.field(default_factory=list)
    accelerators: list[str] = msgspec.field(default_factory=list)
    configuration: str | None = None


class TagName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tag in meta.json, with its id in the database of the writer."""

    type: str
    name: str
    id: Int64 | None = None


class JobStatistics(msgspec.Struct, gc=False):
    """The statistics of a metric in meta.json, but for the unit; missing and null values are None."""

    avg: float | None = None
    min: float | None = None
    max: float | None = None


_EMPTY = msgspec.Raw(b"{}")


class JobMeta(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A meta.json: times in epoch seconds, duration and walltime in seconds, defaults for missing values.

    `statistics` is undecoded JSON. If the file does not contain them, `num_nodes` is the number of resources and
    `monitoring_status` is None.
    """

    job_id: Positive
    cluster: str
    start_time: Positive
    user: str = ""
    project: str = ""
    sub_cluster: str = ""
    partition: str = ""
    array_job_id: Int64 = 0
    num_nodes: Int64 = 0
    num_hwthreads: Int64 = 0
    num_acc: Int64 = 0
    exclusive: Int64 = 1
    monitoring_status: Int64 | None = None
    smt: Int64 = 0
    job_state: str = ""
    duration: Int64 = 0
    walltime: Int64 = 0
    submit_time: Int64 = 0
    tags: list[TagName] = msgspec.field(default_factory=list)
    resources: list[Resource] = msgspec.field(default_factory=list)
    meta_data: dict[str, str | None] | None = None
    statistics: msgspec.Raw = _EMPTY
    id: Int64 | None = None


class _Exact(JobMeta, frozen=True, forbid_unknown_fields=True):
    """A meta.json with exactly these keys and types."""

    concurrent_jobs: msgspec.Raw = _EMPTY
    stop_time: msgspec.Raw = _EMPTY


class _Field:
    """A key of meta.json: the attribute of JobMeta, the decoder, and the expected form for error messages."""

    def __init__(self, target: str, kind: Any, expected: str) -> None:
        self.target = target
        self.expected = expected
        # Not strict: accepts whole floats for integers.
        self.decoder = msgspec.json.Decoder(kind, strict=False)


_INTEGER = "an integer of 64 bit"
_FIELDS = {
    "id": _Field("id", Int64, _INTEGER),
    "jobId": _Field("job_id", Positive, "an integer above zero"),
    "user": _Field("user", str, "a text"),
    "project": _Field("project", str, "a text"),
    "cluster": _Field("cluster", str, "a text"),
    "subCluster": _Field("sub_cluster", str, "a text"),
    "partition": _Field("partition", str, "a text"),
    "arrayJobId": _Field("array_job_id", Int64, _INTEGER),
    "numNodes": _Field("num_nodes", Int64, _INTEGER),
    "numHwthreads": _Field("num_hwthreads", Int64, _INTEGER),
    "numAcc": _Field("num_acc", Int64, _INTEGER),
    "exclusive": _Field("exclusive", Int64, _INTEGER),
    "shared": _Field("shared", str, "none, single_user or multi_user"),
    "monitoringStatus": _Field("monitoring_status", Int64, _INTEGER),
    "smt": _Field("smt", Int64, _INTEGER),
    "jobState": _Field("job_state", str, "a text"),
    "duration": _Field("duration", Int64, "whole seconds"),
    "walltime": _Field("walltime", Int64, "whole seconds"),
    "submitTime": _Field("submit_time", Int64, _INTEGER),
    "tags": _Field("tags", list[dict[str, Any]], "a list of objects with type and name"),
    "resources": _Field("resources", list[dict[str, Any]], "a list of objects with hostname"),
    "metaData": _Field("meta_data", dict[str, str | None], "an object of texts"),
    "startTime": _Field("start_time", Positive, "epoch seconds above zero"),
    "statistics": _Field("statistics", dict[str, JobStatistics], "an object of objects with avg, min and max"),
}
_REQUIRED = ("jobId", "cluster", "startTime")
_DOCUMENT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_EXACT = msgspec.json.Decoder(_Exact, strict=False)
_STATISTICS = msgspec.json.Decoder(dict[str, JobStatistics])


def decode_meta(raw: bytes) -> JobMeta:
    """Read a meta.json; ignore unknown keys, the order of keys, and their case unless the exact key exists.

    Raise DocumentError with the key, its value and the expected form.
    """
    return _decode_exact(raw) or _decode_any(raw)


def keys_of(raw: bytes) -> tuple[str, ...]:
    """Return the keys of a valid meta.json in the order of the file."""
    return tuple(_DOCUMENT.decode(raw))


def _decode_exact(raw: bytes) -> JobMeta | None:
    """Read a meta.json in the usual form; return None for one that has to be read key by key.

    This is five times as fast, which matters for archives of millions of jobs.
    """
    try:
        if not raw.isascii():
            raw.decode()
        meta = _EXACT.decode(raw)
        _STATISTICS.decode(meta.statistics)
    except DECODE_ERRORS:
        return None
    return meta if meta.num_nodes and is_valid_cluster_name(meta.cluster) else None


def _decode_any(raw: bytes) -> JobMeta:
    """Read a meta.json key by key."""
    try:
        if not raw.isascii():
            raw.decode()
        document = _DOCUMENT.decode(raw)
    except DECODE_ERRORS as error:
        raise DocumentError(f"meta.json: {reason(error)}; expected a JSON object") from error
    values: dict[str, Any] = {}
    for key, text in with_known_keys(document, _FIELDS).items():
        values[_FIELDS[key].target] = _value(key, text)
    for key in _REQUIRED:
        if _FIELDS[key].target not in values:
            raise DocumentError(f"meta.json: {key} is missing; expected {_FIELDS[key].expected}")
    if not is_valid_cluster_name(values["cluster"]):
        raise DocumentError(f"meta.json: cluster is {values['cluster'][:80]!r}; expected a name that can be a folder")
    shared = values.pop("shared", "")
    if shared:
        values["exclusive"] = _exclusive_of(shared)
    values.setdefault("num_nodes", len(values.get("resources", ())))
    return JobMeta(**values)


def _value(key: str, text: msgspec.Raw) -> Any:
    """Decode the value of one key; only validate statistics, without decoding them."""
    field = _FIELDS[key]
    try:
        value = field.decoder.decode(text)
        if key == "statistics":
            return text
        if key == "resources":
            return [_convert(entry, _RESOURCE_KEYS, Resource) for entry in value]
        if key == "tags":
            return [_convert(entry, _TAG_KEYS, TagName) for entry in value]
    except DECODE_ERRORS as error:
        shown = bytes(text)[:80].decode(errors="replace")
        raise DocumentError(f"meta.json: {key} is {shown}; expected {field.expected} ({reason(error)})") from error
    return value


Made = TypeVar("Made", Resource, TagName)

_RESOURCE_KEYS = dict.fromkeys(Resource.__struct_fields__)
_TAG_KEYS = dict.fromkeys(TagName.__struct_fields__)


def _convert(entry: dict[str, Any], keys: Mapping[str, object], kind: type[Made]) -> Made:
    """Convert a resource or tag; null means missing, and numbers of accelerators become strings."""
    known = with_known_keys(entry, keys)
    if "accelerators" in known and isinstance(known["accelerators"], list):
        known["accelerators"] = [str(item) if type(item) is int else item for item in known["accelerators"]]
    return msgspec.convert(known, kind, strict=False)


def _exclusive_of(shared: str) -> int:
    """Return the value of `exclusive` for a value of `shared`."""
    try:
        return EXCLUSIVE_OF_SHARED[shared]
    except KeyError:
        raise DocumentError(
            f"meta.json: shared is {shared[:80]!r}; expected one of {', '.join(EXCLUSIVE_OF_SHARED)}"
        ) from None
