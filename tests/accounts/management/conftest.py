"""Fixtures of the tests of commands."""

from tests.support.commands import _own_archive, answer, machine, migrated, run, typed

__all__ = ["_own_archive", "answer", "machine", "migrated", "run", "typed"]
