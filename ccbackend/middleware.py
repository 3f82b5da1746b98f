"""Times in the zone of whoever looks: the browser tells its zone in a cookie (jobs/static/jobs/zone.js)."""

import re
import zoneinfo
from collections.abc import Callable
from functools import lru_cache

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

COOKIE = "zone"

_NAME = re.compile(r"[A-Za-z0-9_+-]{1,40}(?:/[A-Za-z0-9_+-]{1,40}){0,2}")


@lru_cache(maxsize=1024)
def zone_of(name: str) -> zoneinfo.ZoneInfo | None:
    """Return a zone by its name in the IANA database, None for one that is not there."""
    if not _NAME.fullmatch(name):
        return None
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, OSError):  # the latter for a folder such as "Europe"
        return None


class ViewerZone:
    """Middleware: pages are made in the browser's zone, in TIME_ZONE where it is not known."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Keep what comes next."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer in the zone."""
        with timezone.override(zone_of(request.COOKIES.get(COOKIE, "")) or timezone.get_default_timezone()):
            return self.get_response(request)
