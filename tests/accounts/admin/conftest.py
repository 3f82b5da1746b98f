"""Fixtures of the tests of the admin site."""

from tests.support.admin_site import _archive, _forgotten_numbers, login
from tests.support.browser import logged_in, page

__all__ = ["_archive", "_forgotten_numbers", "logged_in", "login", "page"]
