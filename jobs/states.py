"""The states of a job and of its archiving, and the words of newer clients that are mapped to them."""

from django.db import models


class JobState(models.TextChoices):
    """The states of a job; all but running are final."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STOPPED = "stopped"
    TIMEOUT = "timeout"
    PREEMPTED = "preempted"
    OUT_OF_MEMORY = "out_of_memory"


class MonitoringStatus(models.IntegerChoices):
    """The progress of a job's monitoring; a finished job with ARCHIVING waits for the archive."""

    DISABLED = 0, "disabled"
    ARCHIVING = 1, "running or archiving"
    FAILED = 2, "archiving failed"
    ARCHIVED = 3, "archived"


class TaskPurpose(models.TextChoices):
    """The purpose of a worker's claim on a job."""

    WRITE = "write", "write its files"
    REMOVE = "remove", "take it out of the archive"


_STATES = frozenset(JobState.values)
_FINAL = tuple(state for state in JobState.values if state != JobState.RUNNING)

# Words of newer clients. `pending` arrives when a run that was requeued is stopped.
_TAKEN_AS_FAILED = frozenset(
    {"node_fail", "boot_fail", "deadline", "suspended", "requeued", "revoked", "completing", "pending"}
)


def is_start_state(word: str) -> bool:
    """Return whether a start may have this state; the job is stored as running in any case."""
    word = word.lower()
    return not word or word in _STATES or word in _TAKEN_AS_FAILED


def final_state(word: str) -> tuple[str, str | None] | None:
    """Translate a stop's word to (state, the scheduler's own word if it differs); return None for an unknown word.

    Case is ignored; an empty word means completed.
    """
    lower = word.lower() or JobState.COMPLETED.value
    if lower in _TAKEN_AS_FAILED:
        return JobState.FAILED.value, lower
    return (lower, None) if lower in _FINAL else None


def expected_final() -> str:
    """Return the accepted final states, for error messages."""
    return ", ".join(_FINAL)


SCHEDULER_STATE = "schedulerState"
