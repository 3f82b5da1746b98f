"""System checks that look at database and archive together."""

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register
from django.db import DatabaseError

from archive.exceptions import ArchiveError
from jobs import archiving
from jobs.models import Job


@register(Tags.database)
def check_archive_is_there(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse an archive that is empty though the database has archived jobs: a file system that is not mounted."""
    problem = archive_problem() if databases else None
    hint = "Mount the archive's file system, or correct ARCHIVE_ROOT."
    return [Error(problem, hint=hint, id="jobs.E001")] if problem else []


def archive_problem() -> str | None:
    """Return why the server and the worker must not start with this archive, or None.

    Creates a missing root, unless the database says that there should be one.
    """
    store = archiving.store()
    try:
        expects_jobs = Job.objects.archived().exists()
    except DatabaseError:  # not migrated yet, or away: each has its own error elsewhere
        return None
    if expects_jobs and not store.holds_jobs():
        return f"the database has archived jobs, but {store.root} holds none: is its file system mounted?"
    try:
        store.prepare()
    except (ArchiveError, OSError) as error:
        return str(error)
    return None
