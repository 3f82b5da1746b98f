"""System checks that look at database and archive together."""

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register
from django.db import DatabaseError

from archive import root
from archive.exceptions import ArchiveError
from jobs.models import Job


@register(Tags.database)
def check_archive_is_there(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Report an archive that is empty although the database has archived jobs: its file system may not be mounted."""
    problem = archive_problem() if databases else None
    hint = "Mount the archive's file system, or correct ARCHIVE_ROOT."
    return [Error(problem, hint=hint, id="jobs.E001")] if problem else []


def missing_archive() -> str | None:
    """Return an error message if the archive is empty although the database has archived jobs; else None."""
    store = root.store()
    if Job.objects.archived().exists() and not store.holds_jobs():
        return f"the database has archived jobs, but {store.root} holds none: is its file system mounted?"
    return None


def archive_problem() -> str | None:
    """Return why the server and the worker must not start with this archive; None if they may.

    Create a missing root, unless the database has archived jobs.
    """
    try:
        if problem := missing_archive():
            return problem
    except DatabaseError:  # not migrated yet, or unreachable: both are reported elsewhere
        return None
    try:
        root.store().prepare()
    except (ArchiveError, OSError) as error:
        return str(error)
    return None
