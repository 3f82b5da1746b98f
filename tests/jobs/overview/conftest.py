"""Fixtures of the tests of the first page's numbers."""

from tests.support.admin_site import _archive, _forgotten_numbers, login

__all__ = ["_archive", "_forgotten_numbers", "login"]
