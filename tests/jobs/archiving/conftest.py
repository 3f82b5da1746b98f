"""Fixtures of the tests of the archive worker."""

from tests.support.archive_worker import run

__all__ = ["run"]
