"""Backups of database, archive and settings, and their restoring.

A backup is as of the moment at which the database was copied. The archive is copied after it, so what is newer there is
left out or made good: files of jobs that had not been archived yet are left out, as the worker will write them again;
jobs whose files changed later are noted, and restoring lets their meta.json follow the rows.
"""

import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from archive import root
from archive.format.layout import JobKey
from archive.storage.mirror import Mirror, Mirrored
from jobs.archiving import queue
from jobs.maintenance import dump
from jobs.models import Job

MANIFEST, ARCHIVE, SETTINGS = "backup.json", "archive", "settings"
"""What a backup has beside the copy of the database."""

_CLOCKS = 60  # seconds by which the clock of the archive's file system may differ
_MAY_BE_SECRET = re.compile(r"(?i)secret|pass|token|key|url|source|slurmrestd|ldap|bind|dsn|credential")
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*=\s*(.*)")


class BackupError(Exception):
    """A backup cannot be made or restored; the message says why."""


@dataclass
class Manifest:
    """What a backup is of; it is written last, so a folder that has it is whole. Times are epoch seconds."""

    made_at: int
    database: str | None
    migrations: list[str]
    has_archive: bool
    files: Mirrored
    changed: list[JobKey] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write it into the folder of the backup."""
        (folder / MANIFEST).write_text(json.dumps(asdict(self), indent=1) + "\n")
        os.sync()

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read it; raise BackupError if it is not there or cannot be read."""
        try:
            found: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
            files, changed = Mirrored(**found.pop("files")), [JobKey(*key) for key in found.pop("changed")]
            return cls(files=files, changed=changed, **found)
        except FileNotFoundError:
            raise BackupError(f"{folder}: has no {MANIFEST}, so it is no whole backup") from None
        except (OSError, ValueError, TypeError, LookupError) as error:
            raise BackupError(f"{folder / MANIFEST}: cannot be read: {error}") from None


@dataclass(frozen=True)
class Choice:
    """What a backup has, and how the archive is copied, see `Mirror`."""

    database: bool = True
    archive: bool = True
    secrets: bool = False
    links: bool = True
    previous: Path | None = None


def back_up(folder: Path, choice: Choice, seen: Callable[[], Any] = lambda: None) -> Manifest:
    """Make a backup in a new or empty folder; `seen` is called for each job of the archive.

    Raise BackupError, DumpError or OSError.
    """
    if folder.exists() and any(folder.iterdir()):
        raise BackupError(f"{folder}: is not empty; expected a new folder for each backup, and --previous for the last")
    if choice.previous is not None:
        Manifest.read(choice.previous)
    archive = root.store().root
    if choice.archive and folder.resolve().is_relative_to(archive.resolve()):
        raise BackupError(f"{folder}: lies in the archive, {archive}")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    made_at = int(time.time())
    unfinished = dump.dump(folder) if choice.database else set()
    manifest = Manifest(made_at, connection.vendor if choice.database else None, _applied(), choice.archive, Mirrored())
    if choice.archive:

        def look(key: JobKey, changed: float) -> None:
            if changed > made_at - _CLOCKS:
                manifest.changed.append(key)
            seen()

        previous = None if choice.previous is None else choice.previous / ARCHIVE
        mirror = Mirror(archive, folder / ARCHIVE, previous, unfinished, choice.links, look)
        manifest.files = mirror.run()
    _copy_settings(folder / SETTINGS, secrets=choice.secrets)
    manifest.write(folder)
    return manifest


def restore(folder: Path, *, links: bool = True, seen: Callable[[], Any] = lambda: None) -> Manifest:
    """Restore a backup into the empty database and the empty archive of the settings.

    Raise BackupError, DumpError or OSError.
    """
    manifest = Manifest.read(folder)
    _refuse(folder, manifest)
    if manifest.has_archive:
        store = root.store()
        store.root.mkdir(parents=True, exist_ok=True)
        for path in store.root.iterdir():  # version.txt at most
            path.unlink()
        Mirror(folder / ARCHIVE, store.root, links=links, seen=lambda key, changed: seen()).run()
    if manifest.database is not None:
        dump.load(folder)
        call_command("migrate", verbosity=0)
        if manifest.has_archive:
            with transaction.atomic():
                queue.record_edit(sorted(Job.objects.ids_of(manifest.changed).values()))
    return manifest


def _refuse(folder: Path, manifest: Manifest) -> None:
    """Raise BackupError if this server cannot take a backup, or has data of its own."""
    made = f"{datetime.fromtimestamp(manifest.made_at, UTC):%Y-%m-%d %H:%M} UTC"
    if manifest.database not in (None, connection.vendor):
        raise BackupError(
            f"{folder}: is of {manifest.database}, but DATABASE_URL names {connection.vendor}: expected the same"
        )
    known = {f"{app}.{name}" for app, name in MigrationLoader(None).disk_migrations}
    if newer := sorted(set(manifest.migrations) - known):
        raise BackupError(
            f"{folder}: the backup of {made} has a newer schema ({', '.join(newer[:3])}): expected one of this release "
            "or an older one; install the release that made it"
        )
    if manifest.database is not None:
        _refuse_used_database()
    store = root.store()
    if manifest.has_archive and store.root.exists():
        there = [path.name for path in store.root.iterdir() if path.name != "version.txt"]
        if there:
            raise BackupError(f"the archive {store.root} is not empty (it has {there[0]!r}): expected an empty folder")


def _refuse_used_database() -> None:
    """Raise BackupError unless the database has no tables, or those of this server without users and jobs."""
    tables = set(connection.introspection.table_names())
    for model in (get_user_model(), Job):
        if model._meta.db_table in tables:
            if model._default_manager.exists():
                raise BackupError(f"the database has {model._meta.verbose_name_plural}: expected an empty one")
        elif tables - {"django_migrations"}:
            raise BackupError("the database has tables of another program: expected an empty one")


def _applied() -> list[str]:
    """Return the migrations of the database."""
    return sorted(f"{app}.{name}" for app, name in MigrationRecorder(connection).applied_migrations())


def _copy_settings(target: Path, *, secrets: bool) -> None:
    """Copy the file of settings, if there is one; without `secrets` only values that cannot be one."""
    try:
        text = Path(os.environ.get("ENV_FILE", os.devnull)).read_text()
    except OSError:
        return
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text if secrets else "".join(_without_secret(line) for line in text.splitlines()))


def _without_secret(line: str) -> str:
    """Return a line of settings, or a remark in its place."""
    match = _LINE.fullmatch(line)
    if match is None:
        return f"{line}\n" if not line.strip() else ""  # a comment may have an old value
    name, value = match.groups()
    is_plain = not _MAY_BE_SECRET.search(name) and not re.search("[@{]", value)
    return f"{name}={value}\n" if is_plain else f"# {name} was left out: it may have a secret\n"
