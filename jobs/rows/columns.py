"""The one shape of a job's row, and what follows from it alone."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from archive.format.layout import JobKey
from archive.format.meta_json import Resource
from archive.sources.base import JobInfo
from jobs.states import JobState

_resources = msgspec.json.Decoder(list[Resource])
# The order of a row. The first and the last four are named in the code below.
COLUMNS = (
    "id",
    "job_id",
    "user",
    "project",
    "cluster",
    "sub_cluster",
    "partition",
    "array_job_id",
    "num_nodes",
    "num_hwthreads",
    "num_acc",
    "exclusive",
    "monitoring_status",
    "smt",
    "job_state",
    "duration",
    "walltime",
    "resources",
    "start_time",
    "statistics",
)  # followed by the tags as JSON text, and the metadata as JSON text or None
Row = Sequence[Any]

INDEX = {name: position for position, name in enumerate(COLUMNS)}


def job_info(row: Row) -> JobInfo:
    """Return what a metric source must know of a job; one that runs is asked about until now."""
    start_time = row[INDEX["start_time"]]
    running = row[INDEX["job_state"]] == JobState.RUNNING
    return JobInfo(
        cluster=row[INDEX["cluster"]],
        sub_cluster=row[INDEX["sub_cluster"]],
        job_id=row[INDEX["job_id"]],
        start_time=start_time,
        stop_time=max(start_time, int(time.time())) if running else start_time + row[INDEX["duration"]],
        resources=_resources.decode(row[INDEX["resources"]]),
        num_nodes=row[INDEX["num_nodes"]],
    )


def job_key(row: Row) -> JobKey:
    """Return the key of the job's folder in the archive."""
    return JobKey(row[INDEX["cluster"]], row[INDEX["job_id"]], row[INDEX["start_time"]])


def encode_metadata(metadata: dict[str, Any] | None) -> str | None:
    """Return metadata as the JSON text that is stored; None where there is none."""
    return msgspec.json.encode(metadata).decode() if metadata else None
