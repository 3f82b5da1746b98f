"""The columns of a job's row: select lists, inserts, JSON and the API's description are derived from them.

The fields that are sent come first, in the order of the keys in JSON. A key is the column's name in camel case.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from archive.format import meta_json
from archive.format.layout import JobKey
from archive.sources.base import JobInfo
from jobs.messages import Resource
from jobs.states import JobState
from jobs.text import LATEST_TIME, is_whole


class Tag(Struct):
    """A tag on a job."""

    id: int
    type: str
    name: str


class Unit(Struct, omit_defaults=True):
    """The unit of a metric: SI prefix and base."""

    base: str
    prefix: str = ""


class JobStatistics(Struct):
    """Average, minimum and maximum of a metric over a job."""

    unit: Unit
    avg: float
    min: float
    max: float


@dataclass(frozen=True, slots=True)
class Json:
    """Marks a column of JSON text, which is sent unchanged; `type` is the type of the document."""

    type: Any


OMIT_EMPTY = "omit empty"
"""Marks a column whose key is omitted if the value is 0, empty or NULL."""


UNSENT = "unsent"
"""Marks a column, behind all others, that has no key: the contract does not know it, and strict readers refuse it."""


class Row(NamedTuple):
    """A job as stored, with its tags. Times are epoch seconds, durations seconds."""

    id: int
    job_id: int
    user: str
    project: str
    cluster: str
    sub_cluster: str
    partition: Annotated[str, OMIT_EMPTY]
    array_job_id: Annotated[int, OMIT_EMPTY]
    num_nodes: int
    num_hwthreads: Annotated[int, OMIT_EMPTY]
    num_acc: Annotated[int, OMIT_EMPTY]
    exclusive: int
    monitoring_status: int
    smt: Annotated[int, OMIT_EMPTY]
    job_state: str
    duration: int
    walltime: Annotated[int, OMIT_EMPTY]
    tags: Annotated[str | None, Json(list[Tag]), OMIT_EMPTY]
    resources: Annotated[str, Json(list[Resource])]
    meta_data: Annotated[str | None, Json(dict[str, str | None])]
    start_time: int
    statistics: Annotated[str | None, Json(dict[str, JobStatistics])]
    submit_time: Annotated[int, UNSENT] = 0

    @property
    def key(self) -> JobKey:
        """Return the key of the job's folder in the archive."""
        return JobKey(self.cluster, self.job_id, self.start_time)

    def info(self) -> JobInfo:
        """Return the description of the job for metric sources; a running job ends now."""
        running = self.job_state == JobState.RUNNING
        return JobInfo(
            cluster=self.cluster,
            sub_cluster=self.sub_cluster,
            job_id=self.job_id,
            start_time=self.start_time,
            stop_time=max(self.start_time, int(time.time())) if running else self.start_time + self.duration,
            resources=_resources.decode(self.resources),
            num_nodes=self.num_nodes,
        )


_resources = msgspec.json.Decoder(list[meta_json.Resource])


@dataclass(frozen=True, slots=True)
class Column:
    """A field of Row and its key in JSON.

    `type` is the type of the value in JSON. `is_json`: the row holds it as JSON text; `optional`: the key is omitted if
    the value is empty; `nullable`: the value may be null.
    """

    name: str
    type: Any
    is_json: bool
    optional: bool
    nullable: bool

    @property
    def key(self) -> str:
        """Return the key in JSON."""
        first, *others = self.name.split("_")
        return first + "".join(word.capitalize() for word in others)


def _column(name: str, hint: Any) -> Column:
    kind, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    document = next((mark.type for mark in marks if isinstance(mark, Json)), None)
    optional = OMIT_EMPTY in marks
    nullable = type(None) in get_args(kind) and not optional
    return Column(name, document or kind, document is not None, optional, nullable)


_HINTS = get_type_hints(Row, include_extras=True)

COLUMNS = tuple(_column(name, hint) for name, hint in _HINTS.items() if UNSENT not in get_args(hint))
"""The columns that have a key in JSON."""

STORED_COLUMNS = tuple(name for name in Row._fields if name != "tags")
"""The names of the columns of the job table."""

stored_values = attrgetter(*STORED_COLUMNS)
"""Return the values of a row for STORED_COLUMNS."""


def submit_time_in(metadata: Mapping[str, str | None] | None) -> int:
    """Return when metadata say that a job was submitted (epoch seconds); 0 if they do not."""
    text = metadata.get("submitTime") if metadata else None
    return max(0, min(int(text), LATEST_TIME)) if text and is_whole(text) else 0


def encode_metadata(metadata: dict[str, Any] | None) -> str | None:
    """Return metadata as the JSON text to store; None if there is none."""
    return msgspec.json.encode(metadata).decode() if metadata else None
