"""How a job ended, in one sentence."""

import msgspec

from accounts.formatting import duration, share
from jobs.models import Job
from jobs.states import SCHEDULER_STATE, JobState

_WORDS = {
    JobState.RUNNING: "Running for {time}",
    JobState.COMPLETED: "Completed after {time}",
    JobState.FAILED: "Failed after {time}",
    JobState.CANCELLED: "Cancelled after {time}",
    JobState.STOPPED: "Stopped after {time}",
    JobState.TIMEOUT: "Reached its time limit after {time}",
    JobState.PREEMPTED: "Preempted after {time}",
    JobState.OUT_OF_MEMORY: "Ran out of memory after {time}",
}


def ending(job: Job, scheduler_state: str | None = None) -> str:
    """Return what ended a job and how much of the time asked for it used.

    'Failed after 2:13:05, 9 % of the 1 d 00:00:00 asked for; the scheduler says NODE_FAIL.'

    `scheduler_state` is the scheduler's own word for the state if it is known, so that the metadata is not read.
    """
    text = _WORDS[JobState(job.job_state)].format(time=duration(job.elapsed))
    if job.walltime > 0 and job.job_state != JobState.TIMEOUT:
        text += f", {share(job.elapsed / job.walltime)} of the {duration(job.walltime)} asked for"
    elif job.walltime > 0:
        text += f" of {duration(job.walltime)}"
    said = _scheduler_state(job) if scheduler_state is None else scheduler_state
    return f"{text}; the scheduler says {said}." if said else f"{text}."


def _scheduler_state(job: Job) -> str:
    """Return the scheduler's own word for the state, empty if there is none or the metadata cannot be read."""
    try:
        return job.metadata.get(SCHEDULER_STATE) or ""
    except msgspec.DecodeError:
        return ""
