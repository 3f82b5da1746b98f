"""Fixtures of the tests of commands."""

from tests.support.archived_jobs import job
from tests.support.commands import _own_archive, answer, machine, migrated, run, typed
from tests.support.import_source import put, theirs

__all__ = ["_own_archive", "answer", "job", "machine", "migrated", "put", "run", "theirs", "typed"]
