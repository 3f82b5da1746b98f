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


ENDED_BADLY = (JobState.FAILED, JobState.TIMEOUT, JobState.OUT_OF_MEMORY)
"""States of jobs that went wrong by themselves."""


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


class BulkKind(models.TextChoices):
    """What a bulk change does with its jobs."""

    CORRECT = "correct", "correct"
    TAG = "tag", "add a tag"
    UNTAG = "untag", "remove a tag"
    ARCHIVE = "archive", "archive again"
    DELETE = "delete", "delete"


class BulkState(models.TextChoices):
    """How far a bulk change is; SELECTING, RUNNING and UNDOING go on in steps."""

    SELECTING = "selecting", "selecting jobs"
    SELECTED = "selected", "not begun"
    RUNNING = "running", "not finished"
    DONE = "done", "done"
    UNDOING = "undoing", "being undone"
    UNDONE = "undone", "undone"


class PartState(models.IntegerChoices):
    """Whether a bulk change has reached a part of its jobs."""

    TO_DO = 0
    DONE = 1
    UNDONE = 2


class CallOutcome(models.TextChoices):
    """What became of a call."""

    OK = "ok", "carried out"
    REPEAT = "repeat", "refused, because an earlier one was carried out"
    REFUSED = "refused"
    FAILED = "failed", "not carried out, by no fault of the caller"


class RefusalState(models.IntegerChoices):
    """What became of a refused call."""

    OPEN = 0, "open"
    REPLAYED = 1, "replayed"
    KNOWN = 2, "known already"
    DISMISSED = 3, "dismissed"


_FINAL = tuple(state for state in JobState.values if state != JobState.RUNNING)

SCHEDULER_STATE = "schedulerState"
"""The key of the metadata under which the scheduler's own text is kept if it says more than the state."""

# Words of newer clients. `pending` arrives when a run that was requeued is stopped.
_TAKEN_AS_FAILED = frozenset(
    {"node_fail", "boot_fail", "deadline", "suspended", "requeued", "revoked", "completing", "pending"}
)
WORDS = [*JobState.values, *sorted(_TAKEN_AS_FAILED)]
"""The words of a state that a start takes, and lists as a filter."""

FINAL_WORDS = [word for word in WORDS if word != JobState.RUNNING]
"""The words that a stop takes."""

_WORDS = frozenset(WORDS)
_LONGEST = 255  # characters


def is_start_state(text: str) -> bool:
    """Return whether a start may have this state; the job is stored as running in any case."""
    return _known_word(text) is not None


def final_state(text: str) -> tuple[str, str | None] | None:
    """Translate a stop's state to (state, the scheduler's own text if it says more); None if it is not known or final.

    No text means completed.
    """
    word = _known_word(text)
    if word is None or word == JobState.RUNNING:
        return None
    own = " ".join(_beginning(text).split())
    if word in _TAKEN_AS_FAILED:
        return JobState.FAILED.value, word if own.lower() == word else own
    return word or JobState.COMPLETED.value, None if own.lower() == word else own


def searched_state(text: str) -> tuple[str, tuple[str, ...]] | None:
    """Translate a state that is searched for to (state, first words of the scheduler's own text); None if not known.

    Without first words, all jobs in the state are meant: of those that failed, `node_fail` means only some.
    """
    word = _known_word(text)
    if not word:
        return None
    if word not in _TAKEN_AS_FAILED:
        return word, ()
    cut = (f"{word[:length]}+" for length in range(1, len(word) + 1))
    return JobState.FAILED.value, (word, *(each for each in cut if _known_word(each) == word))


def _beginning(text: str) -> str:
    """Return as much of a scheduler's text as is read and kept; a body may hold many MB."""
    return text.strip()[:_LONGEST]


def _known_word(text: str) -> str | None:
    """Return the first word of a state in lower case if it is known; empty if there is no word.

    So `CANCELLED by 1022` is cancelled. sacct cuts long states and marks them by a plus, as in `CANCELLED+` and
    `OUT_OF_ME+`: such a word must be the beginning of a single known one.
    """
    if text in _WORDS:  # as nearly always
        return text
    word = next(iter(_beginning(text).lower().split(maxsplit=1)), "")
    if not word or word in _WORDS:
        return word
    beginning = word.removesuffix("+")
    if beginning == word or beginning in _WORDS:
        return beginning if beginning in _WORDS else None
    matching = [known for known in _WORDS if known.startswith(beginning)]
    return matching[0] if len(matching) == 1 else None


def expected_final() -> str:
    """Return the accepted final states, for error messages."""
    return ", ".join(_FINAL)
