"""What holds for every request: policies for browsers, clean addresses, sessions that end, times in the viewer's zone.

The browser sends its zone in a cookie (jobs/static/jobs/zone.js).
"""

import re
import zoneinfo
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone

COOKIE = "zone"
_STEP = 600  # seconds between two times that a session is stored

_SLASHES = re.compile("/{2,}")
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


class PermissionsPolicy:
    """Middleware that denies pages what none of them uses, so that nobody who got a script into one can use it."""

    DENIED = ", ".join(
        f"{name}=()" for name in ("camera", "display-capture", "geolocation", "microphone", "payment", "usb")
    )

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Keep the next handler."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request with the header."""
        response = self.get_response(request)
        response.headers["Permissions-Policy"] = self.DENIED
        return response


class CleanAddress:
    """Middleware that replaces NUL characters, and takes several slashes in a path of the API for one.

    PostgreSQL refuses a NUL character wherever it is looked for; with U+FFFD in its place nothing is found, and it is
    not mistaken for a name without it. Base URLs of clients often end in a slash.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        """Keep the next handler."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request."""
        path, meta = request.path_info, request.META
        if "\0" in path:
            request.path_info, request.path = path.replace("\0", "\ufffd"), request.path.replace("\0", "\ufffd")
        if "%00" in meta.get("QUERY_STRING", ""):
            meta["QUERY_STRING"] = meta["QUERY_STRING"].replace("%00", "%EF%BF%BD")
        if "\\000" in meta.get("HTTP_COOKIE", ""):  # a NUL character in octal digits
            meta["HTTP_COOKIE"] = meta["HTTP_COOKIE"].replace("\\000", "?")
        if "//" in path and _SLASHES.sub("/", path).startswith("/api/"):
            request.path_info, request.path = (_SLASHES.sub("/", text) for text in (request.path_info, request.path))
        return self.get_response(request)


class KeepSession:
    """Middleware that lets a session end SESSION_COOKIE_AGE after the last request that used it, to ten minutes or so.

    Django counts from the log-in, or stores the session with each request.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Keep the next handler."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request, and let a session be stored whose end should be another."""
        response = self.get_response(request)
        ends_at: datetime | None = getattr(request.session, "ends_at", None)
        if ends_at is not None:
            left = (ends_at - timezone.now()).total_seconds()
            if not settings.SESSION_COOKIE_AGE - _STEP < left <= settings.SESSION_COOKIE_AGE:
                request.session.modified = True
        return response


class ViewerZone:
    """Middleware that renders pages in the browser's zone, or in TIME_ZONE if that is unknown."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Keep the next handler."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request in the zone."""
        with timezone.override(zone_of(request.COOKIES.get(COOKIE, "")) or timezone.get_default_timezone()):
            return self.get_response(request)
