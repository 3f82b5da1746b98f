"""The calls of schedulers between HTTP and the services: what a body must have, and the answers."""

from typing import Any, TypeVar

from jobs.api.decoding import decode
from jobs.exceptions import InvalidJobError
from jobs.intake.services import Stop, stopped_state
from jobs.messages import StopJob, StopJobById
from jobs.rows import encoding
from jobs.rows.columns import Row
from jobs.text import is_whole

T = TypeVar("T")


def stop_of(body: bytes) -> dict[str, Any]:
    """Return the arguments of services.stop_job for a body that names the job; raise InvalidJobError."""
    stop = decode(body, StopJob)
    return {
        "job_id": required(stop.job_id, "jobId"),
        "cluster": stop.cluster,
        "start_time": stop.start_time,
        "stop_time": required(stop.stop_time, "stopTime"),
        "job_state": stop.job_state or "",
    }


def named_stop_of(body: bytes) -> Stop:
    """Return the end of the job that a body names; raise InvalidJobError."""
    arguments = stop_of(body)
    return Stop(*stopped_state(arguments.pop("job_state")), **arguments)


def stop_by_id_of(row_id: int, body: bytes) -> dict[str, Any]:
    """Return the arguments of services.stop_job for a job with this database id; raise InvalidJobError."""
    stop = decode(body, StopJobById)
    return {
        "row_id": row_id,
        "stop_time": required(stop.stop_time, "stopTime"),
        "job_state": stop.job_state or "",
    }


def started(row_id: int) -> bytes:
    """Return the answer to a start."""
    return b'{"id":%d}\n' % row_id


def stopped(row: Row) -> bytes:
    """Return the answer to a stop."""
    return encoding.encode(encoding.job_meta(row))


def tagged(row: Row) -> bytes:
    """Return the answer to a change of a job's tags."""
    return encoding.encode(encoding.job(row))


def stored(count: int) -> bytes:
    """Return the answer to a report of nodes."""
    return encoding.encode({"msg": f"Successfully stored the states of {count} nodes"})


def required(value: T | None, name: str) -> T:
    """Return the value of a field; raise InvalidJobError if there is none."""
    if value is None:
        raise InvalidJobError(f"the field '{name}' is required")
    return value


def whole(text: str, name: str) -> int:
    """Return a 64-bit number from a path; raise InvalidJobError."""
    if not is_whole(text):
        raise InvalidJobError(f"integer expected in path for {name}: got {text!r}")
    return int(text)
