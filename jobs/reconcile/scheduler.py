"""What a scheduler says of its jobs: documents of squeue, sacct and slurmrestd, and plain lists of jobids.

Slurm writes numbers and times as they are up to 22.05, later as {"set": true, "infinite": false, "number": 17}, and
states as a text up to 23.02, later as a list of texts; both are taken wherever they stand. Only what is needed is read.
"""

import math
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import msgspec
from django.conf import settings

from archive.exceptions import DocumentError
from archive.format.nodelist import NodeList
from jobs.exceptions import InvalidJobError
from jobs.states import final_state
from jobs.text import is_whole

_RUNS = {"RUNNING", "SUSPENDED"}
_NO_END = {"PENDING", "REQUEUED", "COMPLETING"}
_PATIENCE = 120.0  # seconds that squeue, sacct or slurmrestd may take
_ASKED_AT_ONCE = 500  # jobs in one call of sacct
_LONGEST_LIST = 100_000  # hosts of one job


class SchedulerError(Exception):
    """The scheduler's list cannot be had or read; the message says why."""


class _Number(msgspec.Struct):
    set: bool = True
    infinite: bool = False
    number: float = 0


class _State(msgspec.Struct):
    current: str | list[str] = ""


class _Time(msgspec.Struct):
    start: int | _Number | None = None
    end: int | _Number | None = None


class _Job(msgspec.Struct):
    """A job of squeue and slurmrestd, and of sacct, which has `time`, `state` and `user` in their place."""

    job_id: int
    job_state: str | list[str] = ""
    state: _State | None = None
    start_time: int | _Number | None = None
    end_time: int | _Number | None = None
    time: _Time | None = None
    user_name: str | None = None
    account: str | None = None
    partition: str | None = None
    name: str | None = None
    nodes: str | None = None
    cpus: int | _Number | None = None
    time_limit: int | _Number | None = None
    array_job_id: int | _Number | None = None
    tres_alloc_str: str | None = None


class _Document(msgspec.Struct):
    jobs: list[_Job]
    errors: list[Any] = []


_decoder = msgspec.json.Decoder(_Document)


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job that runs by the scheduler's word. All but `job_id` may be missing; times in epoch seconds."""

    job_id: int
    start_time: int | None = None
    user: str = ""
    project: str = ""
    partition: str = ""
    name: str = ""
    nodes: str = ""
    cpus: int = 0
    gpus: int = 0
    walltime: int = 0
    array_job_id: int = 0

    def hosts(self) -> list[str]:
        """Return the names of its nodes; raise InvalidJobError if they cannot be read."""
        try:
            hosts = list(NodeList.parse(self.nodes).hosts())
        except (DocumentError, ValueError) as error:
            raise InvalidJobError(f"nodes {self.nodes[:60]!r}: {error}") from None
        if len(hosts) > _LONGEST_LIST:
            raise InvalidJobError(f"nodes {self.nodes[:60]!r}: too many")
        return hosts


@dataclass(frozen=True, slots=True)
class EndedJob:
    """The end of a run: its start, if the scheduler says it, state in its own word, and end (epoch seconds)."""

    job_id: int
    start_time: int | None
    state: str
    stop_time: int


@dataclass(slots=True)
class Listing:
    """The running jobs by jobId, the ends that a scheduler remembers, and when the list was made (epoch seconds).

    `waiting` are jobs that do not run now and have not ended: a requeued one, say.
    """

    taken_at: int
    running: dict[int, RunningJob] = field(default_factory=dict)
    ended: list[EndedJob] = field(default_factory=list)
    waiting: set[int] = field(default_factory=set)


def read_listing(content: bytes, *, taken_at: int) -> Listing:
    """Read a document of squeue --json or slurmrestd, or a plain list of jobids; raise SchedulerError."""
    text = content.strip()
    if not text:
        raise SchedulerError("the list is empty: expected JSON of squeue or slurmrestd, or jobids")
    if text[:1] == b"{":
        return _read_jobs(text, taken_at=taken_at)
    words = text.decode("ascii", "replace").replace(",", " ").split()
    if words and words[0].upper() == "JOBID":
        words = words[1:]
    for word in words:
        if not is_whole(word) or int(word) < 1:
            raise SchedulerError(f"{word[:40]!r} is no jobid: expected JSON of squeue or slurmrestd, or jobids")
    return Listing(taken_at, {int(word): RunningJob(int(word)) for word in words})


def _read_jobs(content: bytes, *, taken_at: int) -> Listing:
    listing = Listing(taken_at)
    for job in _decoded(content).jobs:
        words = _words(job.state.current if job.state else job.job_state)
        start = _whole(job.time.start if job.time else job.start_time)
        if _RUNS & set(words):
            listing.running[job.job_id] = _running(job, start)
            continue
        end = _whole(job.time.end if job.time else job.end_time)
        state = next((word for word in words if final_state(word) and word not in _NO_END), None)
        if state and end:
            listing.ended.append(EndedJob(job.job_id, start, state, end))
        elif not state:
            listing.waiting.add(job.job_id)
    return listing


def _decoded(content: bytes) -> _Document:
    try:
        document = _decoder.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SchedulerError(f"the document cannot be read: {str(error).replace('`', '')}") from None
    if document.errors:
        raise SchedulerError(
            f"the document says that something failed: {msgspec.json.encode(document.errors).decode()}"
        )
    return document


def _running(job: _Job, start: int | None) -> RunningJob:
    return RunningJob(
        job_id=job.job_id,
        start_time=start,
        user=job.user_name or "",
        project=job.account or "",
        partition=job.partition or "",
        name=job.name or "",
        nodes=job.nodes or "",
        cpus=_whole(job.cpus) or 0,
        gpus=_gpus(job.tres_alloc_str or ""),
        walltime=60 * (_whole(job.time_limit) or 0),
        array_job_id=_whole(job.array_job_id) or 0,
    )


def _words(state: str | list[str]) -> list[str]:
    words = [state] if isinstance(state, str) else state
    return [part for word in words for part in word.upper().split()]


def _whole(value: int | _Number | None) -> int | None:
    """Return a number; None if it is not set, infinite, or zero, which stands for neither."""
    if isinstance(value, _Number):
        value = int(value.number) if value.set and not value.infinite and math.isfinite(value.number) else None
    return value or None


def _gpus(tres: str) -> int:
    """Return the number of GPUs in a text such as cpu=2,mem=4G,gres/gpu=1,gres/gpu:a100=1."""
    for part in tres.split(","):
        name, _, number = part.partition("=")
        if name == "gres/gpu" and is_whole(number):
            return int(number)
    return 0


def from_file(name: str, stdin: BinaryIO) -> Listing:
    """Read a file, made when it was last written; `-` is stdin, made now. Raises SchedulerError."""
    try:
        if name == "-":
            return read_listing(stdin.read(), taken_at=int(time.time()))
        path = Path(name)
        return read_listing(path.read_bytes(), taken_at=int(path.stat().st_mtime))
    except OSError as error:
        raise SchedulerError(f"{name}: {error.strerror}") from None


def from_squeue() -> Listing:
    """Run squeue; raise SchedulerError."""
    now = int(time.time())
    return read_listing(_output_of(["squeue", "--json"]), taken_at=now)


def from_slurmrestd(cluster: str) -> Listing:
    """Ask the slurmrestd that the setting SLURMRESTD has for a cluster; raise SchedulerError."""
    entry = settings.SLURMRESTD.get(cluster) or settings.SLURMRESTD.get("*")
    if entry is None:
        raise SchedulerError(f"SLURMRESTD has no entry for cluster {cluster}")
    headers = {"X-SLURM-USER-NAME": entry.get("user", ""), "X-SLURM-USER-TOKEN": entry.get("token", "")}
    now = int(time.time())
    try:
        answer = httpx.get(
            entry["url"], headers={key: text for key, text in headers.items() if text}, timeout=_PATIENCE
        )
        answer.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SchedulerError(f"slurmrestd: {error}") from None
    return read_listing(answer.content, taken_at=now)


def ends_in(content: bytes) -> Listing:
    """Read a document of sacct --json; raise SchedulerError."""
    return _read_jobs(content.strip(), taken_at=0)


def ends_by_sacct(job_ids: Sequence[int]) -> Iterable[Listing]:
    """Run sacct for these jobs, some at a time; raise SchedulerError."""
    for begin in range(0, len(job_ids), _ASKED_AT_ONCE):
        some = ",".join(map(str, job_ids[begin : begin + _ASKED_AT_ONCE]))
        yield ends_in(_output_of(["sacct", "--json", "--duplicates", "--allusers", f"--jobs={some}"]))


def _output_of(command: list[str]) -> bytes:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE, check=False)  # noqa: S603  fixed words and numbers
    except OSError as error:
        raise SchedulerError(f"{command[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise SchedulerError(f"{command[0]}: no answer within {_PATIENCE:.0f} s") from None
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip()[-300:]
        raise SchedulerError(f"{command[0]} failed with status {done.returncode}: {reason}")
    return done.stdout
