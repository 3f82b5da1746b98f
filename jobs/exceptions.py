"""What the jobs app refuses, each with the HTTP status that the API answers."""

import re

from django.db import DatabaseError

_SHOWN = 255  # characters of a name, no more than a column has


class JobError(Exception):
    """A request about jobs that cannot be carried out; the message says why."""

    status_code = 422
    is_known = False
    """Whether the call was carried out before, so that nothing is lost by its refusal."""


class InvalidJobError(JobError):
    """A value that cannot be; the message names the field, the value and what was expected."""

    status_code = 400


def invalid_parameter(name: str, value: str, expected: str) -> InvalidJobError:
    """Return the refusal of the value of a query parameter."""
    return InvalidJobError(f"invalid query parameter value: {name}={value[:_SHOWN]!r}, expected {expected}")


class RefusedByTokenError(JobError):
    """A call about a cluster that the token is not for."""

    status_code = 403


class DuplicateJobError(JobError):
    """A start of a run that is known already: one with the same start, `is_known`, or one with a start nearby."""

    def __init__(self, message: str, *, is_known: bool) -> None:
        """Keep whether the runs are the same."""
        super().__init__(message)
        self.is_known = is_known


class JobNotFoundError(JobError):
    """No job has the given keys."""


class UnknownJobError(JobError):
    """No job has the given row id, where the contract answers 404."""

    status_code = 404


class JobNotRunningError(JobError):
    """A stop of a job that has ended already."""

    is_known = True


class ArchiveUnavailableError(JobError):
    """The samples of a job cannot be had; the message says why."""

    status_code = 500


class NoSamplesError(JobError):
    """A job has no samples; the message is a sentence that says why."""

    status_code = 404


class UnknownTagError(JobError):
    """No tag has the given id: somebody else has deleted it or merged it into another."""

    status_code = 404


class TagExistsError(JobError):
    """A new name that another tag has."""


class EditConflictError(JobError):
    """Somebody else changed what an edit began with; `conflicts` names each field with what happened to it."""

    status_code = 409

    def __init__(self, conflicts: dict[str, str]) -> None:
        """Keep the reason by the name of the field."""
        super().__init__("; ".join(conflicts.values()))
        self.conflicts = conflicts


def described(keys: dict[str, int | str | None], stop_time: int | None = None) -> str:
    names = {"pk": "database id", "job_id": "jobId", "cluster": "cluster", "start_time": "startTime"}
    given = ", ".join(f"{names[key]} {str(value)[:_SHOWN]}" for key, value in keys.items() if value is not None)
    return f"no job with {given}" + ("" if stop_time is None else f" that started by {stop_time}")


NOT_MIGRATED = "the database is not migrated: run `manage.py migrate`, then restart the server and the worker"

_MISSING = re.compile(r"no such (?:table|column)|(?:relation|column) .* does not exist|has no column named")


def is_not_migrated(error: BaseException | None) -> bool:
    """Return whether a database refused a statement because a table or a column is missing."""
    return isinstance(error, DatabaseError) and _MISSING.search(str(error)) is not None
