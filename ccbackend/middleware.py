"""Show times in the viewer's zone, which the browser sends in a cookie (jobs/static/jobs/zone.js)."""

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
    """Return a zone by its name in the IANA database; None if there is no such zone."""
    if not _NAME.fullmatch(name):
        return None
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, OSError):  # the latter for a folder such as "Europe"
        return None


class ViewerZone:
    """Middleware that renders pages in the browser's zone, or in TIME_ZONE if that is unknown."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Keep the next handler."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request in the zone."""
        with timezone.override(zone_of(request.COOKIES.get(COOKIE, "")) or timezone.get_default_timezone()):
            return self.get_response(request)
