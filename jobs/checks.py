"""System checks that look at database and archive."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as CheckWarning
from django.db import DatabaseError, connection

from archive import root
from archive.exceptions import ArchiveError
from archive.storage.files import folder_mode
from jobs.models import Job


@register(Tags.database)
def check_archive_is_there(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Report an archive that is empty although the database has archived jobs: its file system may not be mounted."""
    problem = archive_problem() if databases else None
    hint = "Mount the archive's file system, or correct ARCHIVE_ROOT."
    return [Error(problem, hint=hint, id="jobs.E001")] if problem else []


@register()
def check_permissions(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn about a database (W001), an archive (W002) or settings (W003) that other users of this host may read."""
    archive = Path(settings.ARCHIVE_ROOT)
    places = [
        ("jobs.W002", "archive", archive, folder_mode()),
        ("jobs.W003", "file of settings", Path(os.environ.get("ENV_FILE", os.devnull)), 0o600),
    ]
    if connection.vendor == "sqlite":
        places.insert(0, ("jobs.W001", "database", Path(connection.settings_dict["NAME"]), 0o600))
    return [
        CheckWarning(
            f"The {name} {path} can be read by other users of this host.",
            hint=f"chmod {mode:o} {path}" + ("; ARCHIVE_MODE allows a group to read it" if path == archive else ""),
            id=id_,
        )
        for id_, name, path, mode in places
        if _is_open(path, mode)
    ]


def _is_open(path: Path, allowed: int) -> bool:
    """Return whether others than the owner may read a file or folder, and are not meant to."""
    try:
        readable, reachable = path.stat().st_mode & 0o044, path.parent.stat().st_mode & 0o011
    except OSError:
        return False
    return not path.is_char_device() and bool(readable & ~allowed & reachable << 2)


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
