"""Convert exceptions to error answers, with a line in the log for each; no other module does."""

import json
import logging
import re
import sys
from http import HTTPStatus
from typing import Any, cast

from django.contrib import admin
from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import Error, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.template.loader import render_to_string
from django.urls import Resolver404
from django.views.debug import SafeExceptionReporterFilter
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import APIException

from accounts import bad_tokens
from accounts.addresses import client_address
from accounts.api.authentication import CHALLENGE, sent_token
from ccbackend.callers import note_refusal, prefix_of
from ccbackend.logs import REQUEST_ID, shown
from jobs.exceptions import NOT_MIGRATED, is_not_migrated

logger = logging.getLogger("ccbackend.api")

_RETRY_AFTER = 5  # seconds after which a client that got 503 should try again
_MINUTE, _HOUR = 60, 3600
_LONGEST_PATH = 300  # characters in a log line, so that the message after it has room
_PLAIN = (400, 422)
_OWN_PHRASES = {413: "Request Entity Too Large", 422: "Unprocessable Entity"}


def exception_handler(error: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """Return the answer to an exception in a view of the API; docs/api.md describes the format."""
    request = context["request"]._request
    status = _status(error)
    message = _message(error, status)
    _log(request, status, message, error)
    note_refusal(request, status, shown(message), error)
    plain = status in _PLAIN and getattr(context["view"], "plain_errors", False)
    response = error_response(status, message, plain=plain)
    if getattr(error, "is_repeated", False):
        response.headers["Retry-After"] = str(bad_tokens.DELAY)  # ccbackend.fastpath delays it
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = ", ".join(context["view"].allowed_methods)
    response._has_been_logged = True  # type: ignore[attr-defined]  # Django would log a less detailed line
    return response


def _log(request: HttpRequest, status: int, message: str, error: Exception | None = None) -> None:
    """Write a line about a request that is not carried out; few lines while the database is away."""
    level = logging.ERROR if status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.WARNING
    extra: dict[str, Any] = {"fields": _fields(request, status), "request": request}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        extra["seldom"] = ("migrations", _HOUR) if is_not_migrated(error) else ("database", _MINUTE)
        error = None
    elif status < HTTPStatus.INTERNAL_SERVER_ERROR:
        error = None
    logger.log(level, "%s", _line(extra["fields"], message), exc_info=error, extra=extra)


def _status(error: Exception) -> int:
    if is_not_migrated(error):
        return HTTPStatus.SERVICE_UNAVAILABLE
    if isinstance(error, OperationalError | InterfaceError):
        return HTTPStatus.SERVICE_UNAVAILABLE
    if isinstance(error, RequestDataTooBig):
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    if isinstance(error, BadRequest | SuspiciousOperation | UnreadablePostError):
        return HTTPStatus.BAD_REQUEST
    if isinstance(error, Http404):
        return HTTPStatus.NOT_FOUND
    if isinstance(error, PermissionDenied):
        return HTTPStatus.FORBIDDEN
    return int(getattr(error, "status_code", HTTPStatus.INTERNAL_SERVER_ERROR))


def _message(error: Exception, status: int) -> str:
    if isinstance(error, APIException):
        return str(error.detail)
    if is_not_migrated(error):
        return NOT_MIGRATED
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return f"the database is locked or cannot be reached, nothing was changed, try again: {error}".strip()
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return "request body too large: expected at most 32 MB"
    if status == HTTPStatus.INTERNAL_SERVER_ERROR and not hasattr(error, "status_code"):
        return "internal error, see the server's log"
    return str(error) or _phrase(status)


def _fields(request: HttpRequest, status: int) -> dict[str, Any]:
    """Return what a line in the log says of a request; empty texts for what is not known."""
    try:
        name = getattr(getattr(request, "user", None), "username", "")
    except Error:  # the user is in the database, which is unreachable
        name = ""
    return {
        "method": request.method,
        "path": shown(request.path, _LONGEST_PATH),
        "status": status,
        "address": client_address(request),
        "user": name,
        "token": prefix_of(request),
    }


def _line(fields: dict[str, Any], message: str) -> str:
    """Return a line for the log."""
    caller = f"{fields['user'] or '-'}{' with ' if fields['token'] else ''}{fields['token']}"
    return f"{fields['method']} {fields['path']} {fields['status']} from {fields['address']} as {caller}: {message}"


def error_response(status: int, message: str, *, plain: bool = False) -> HttpResponse:
    """Return the documented error body: JSON with status and error, or the message alone."""
    message = shown(message)
    if plain:
        return HttpResponse(f"{message}\n", status=status, content_type="text/plain; charset=utf-8")
    body = json.dumps({"status": _phrase(status), "error": message}) + "\n"
    response = HttpResponse(body, status=status, content_type="application/json")
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = CHALLENGE
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(_RETRY_AFTER)
    return response


def _refused(request: HttpRequest, status: int, message: str) -> HttpResponse:
    """Count a call that no view of the API has answered; return the answer."""
    note_refusal(request, status, shown(message))
    return error_response(status, message)


def _phrase(status: int) -> str:
    """Return the reason phrase of the contract; Python 3.13 renamed two."""
    return _OWN_PHRASES.get(status) or HTTPStatus(status).phrase


def _is_api(request: HttpRequest) -> bool:
    """Return whether a program reads the answer: the path is the API's, or a token came along."""
    return f"{request.path_info}/".startswith("/api/") or sent_token(request.META) is not None


@csrf_exempt
def api_not_found(request: HttpRequest) -> HttpResponse:
    """Answer 404 for an unknown path below /api."""
    _log(request, 404, "no such path")
    response = _refused(request, 404, f"no such path: {request.path}, see /api/docs/")
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 400 to a request that Django itself refuses, e.g. for an unknown Host."""
    if _is_api(request):
        return _refused(request, _status(exception), str(exception) or "bad request")
    return _page(
        request, 400, "This cannot be understood", "The request is not one that this site can answer.", exception
    )


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403."""
    if _is_api(request):
        return _refused(request, 403, str(exception) or "forbidden")
    text = "Your account does not have the permission for this page or action. Ask an administrator if it should."
    return _page(request, 403, "You may not do this", text, exception)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer 403 to a form without its CSRF token, or to an API call with a token at a path that is none of the API."""
    if _is_api(request):
        return _refused(request, 403, f"no path of the API: {request.path}, see /api/docs/")
    text = "The form was too old, or cookies are off: nothing was changed. Go back, load the page again, and repeat."
    return _page(request, 403, "The form was not accepted", text)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404."""
    if _is_api(request):
        return _refused(request, 404, f"no such path: {request.path}, see /api/docs/")
    text = "There is nothing at this address, or nothing that you may see."
    return _page(request, 404, "Not found", text, None if isinstance(exception, Resolver404) else exception)


class HiddenSettings(SafeExceptionReporterFilter):
    """Hide in Django's error pages, which DEBUG turns on, what may hold a password or a token."""

    # Django's own words, and settings whose values have secrets in them.
    hidden_settings = re.compile(
        f"{SafeExceptionReporterFilter.hidden_settings.pattern}|DATABASE|METRIC_SOURCES|SLURMRESTD|LDAP|OIDC", re.I
    )


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 500, whose traceback Django logs, or 503 if the database cannot be reached or written."""
    error = cast("Exception", sys.exc_info()[1])
    status = HTTPStatus(_status(error))
    message = _message(error, status)
    is_away = status == HTTPStatus.SERVICE_UNAVAILABLE
    if is_away:
        _log(request, status, message, error)
    if _is_api(request):
        response = _refused(request, status, message)
    elif is_away:
        text = (
            "The database cannot be reached, or cannot be written. Nothing was changed. Please try again in a moment."
        )
        reason = NOT_MIGRATED if is_not_migrated(error) else str(error)
        response = _page(request, status, "Try again in a moment", text, reason)
        response.headers["Retry-After"] = str(_RETRY_AFTER)
    else:
        text = "Something went wrong on this server; its log has the details."
        response = _page(request, status, "An error of the server", text)
    response._has_been_logged = is_away  # type: ignore[attr-defined]  # Django would log a traceback
    return response


def _page(request: HttpRequest, status: int, title: str, text: str, reason: object = None) -> HttpResponse:
    """Return a page in the site's dress that says why there is no other, and leads back."""
    # Without the user, who is in the database.
    shows = {
        "site_header": admin.site.site_header,
        "site_title": admin.site.site_title,
        "title": title,
        "text": text,
        "reason": shown(str(reason or ""), _LONGEST_PATH),
        "request_id": request.META.get(REQUEST_ID, ""),
    }
    return HttpResponse(render_to_string("error.html", shows), status=status)
