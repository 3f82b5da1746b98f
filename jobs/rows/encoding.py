"""Jobs as JSON: the JobMeta of lists, stops and meta.json, and the Job of tag_job and jobs/{id}.

The hot path of every answer. A job arrives as a row in the order of COLUMNS; its JSON columns (resources, statistics,
tags, metadata) pass through as text, unparsed: encoding a job costs about 2 µs that way, and a thousand jobs with 2 kB
scripts never become Python objects.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from jobs.rows.columns import Row
from jobs.states import JobState

_NO_CONCURRENT_JOBS = orjson.Fragment(b'{"items":null,"count":0}')
_NO_TAGS = (None, "", "[]")
_RUNNING = JobState.RUNNING.value
_fragment = orjson.Fragment


def _document(row: Row, now: int) -> dict[str, Any]:
    """Return what JobMeta and Job share, keys in the order of the contract; `now` is in epoch seconds."""
    (
        row_id,
        job_id,
        user,
        project,
        cluster,
        sub_cluster,
        partition,
        array_job_id,
        num_nodes,
        num_hwthreads,
        num_acc,
        exclusive,
        monitoring_status,
        smt,
        job_state,
        duration,
        walltime,
        resources,
        start_time,
        _statistics,
        tags,
        meta_data,
    ) = row
    document: dict[str, Any] = {
        "id": row_id,
        "jobId": job_id,
        "user": user,
        "project": project,
        "cluster": cluster,
        "subCluster": sub_cluster,
    }
    if partition:
        document["partition"] = partition
    if array_job_id:
        document["arrayJobId"] = array_job_id
    document["numNodes"] = num_nodes
    if num_hwthreads:
        document["numHwthreads"] = num_hwthreads
    if num_acc:
        document["numAcc"] = num_acc
    document["exclusive"] = exclusive
    document["monitoringStatus"] = monitoring_status
    if smt:
        document["smt"] = smt
    document["jobState"] = job_state
    document["duration"] = duration if job_state != _RUNNING else max(0, now - start_time)
    if walltime:
        document["walltime"] = walltime
    if tags not in _NO_TAGS:
        document["tags"] = _fragment(tags)
    document["resources"] = _fragment(resources)
    document["metaData"] = None if meta_data is None else _fragment(meta_data)
    document["concurrentJobs"] = _NO_CONCURRENT_JOBS
    return document


def job_meta(row: Row, now: int | None = None) -> dict[str, Any]:
    """Return a job as JobMeta, ready for orjson.dumps: startTime in epoch seconds, statistics or null."""
    document = _document(row, int(time.time()) if now is None else now)
    document["startTime"] = row[18]
    statistics = row[19]
    document["statistics"] = None if statistics is None else _fragment(statistics)
    return document


def job(row: Row) -> dict[str, Any]:
    """Return a job as Job, ready for orjson.dumps: startTime as RFC 3339 in UTC, no statistics."""
    document = _document(row, int(time.time()))
    document["startTime"] = _rfc3339(row[18])
    return document


def _rfc3339(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):  # a start beyond the year 9999, which the contract allows
        return datetime.max.strftime("%Y-%m-%dT%H:%M:%SZ")


def encode(document: Any) -> bytes:
    """Encode an answer as JSON, with a newline at the end for whoever reads it in a terminal."""
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def encode_part(rows: Sequence[Row]) -> bytes:
    """Encode jobs as the inside of a JSON array, for an answer that is sent in parts."""
    now = int(time.time())
    return orjson.dumps([job_meta(row, now) for row in rows])[1:-1]
