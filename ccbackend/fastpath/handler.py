"""Django's WSGI handler, and one with a shorter path for API calls with a token."""

import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from time import perf_counter
from typing import Any, cast

from django.conf import settings
from django.contrib import auth
from django.core.exceptions import DisallowedHost, ImproperlyConfigured, RequestDataTooBig
from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.template import engines
from django.urls import ResolverMatch, get_resolver
from django.utils.formats import get_format

from accounts.addresses import UNIX_PEER, is_listed
from accounts.api.authentication import sent_token
from accounts.api.base import json_response
from accounts.console import check_settings
from ccbackend.callers import note_unexplained
from ccbackend.compression import pack
from ccbackend.fastpath import counts
from ccbackend.fastpath.counts import operation_of
from ccbackend.fastpath.heads import Content
from ccbackend.logs import REQUEST_ID, RequestIds
from ccbackend.middleware import CleanAddress
from ccbackend.waiting import WouldWait
from jobs.api import direct, together
from jobs.api.direct import Call
from jobs.checks import archive_problem
from jobs.intake.sql import FEW

_ids = RequestIds()
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

_PART, _MOST_READ = 1 << 20, 1 << 28  # bytes
_MOST_HOSTS = 100  # that are remembered; a client can invent any number of ports


class _Chunked:
    """A body of unknown length, which may not exceed the limit for bodies."""

    def __init__(self, body: Any) -> None:
        self._body, self._left = body, settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        self.readline = body.readline  # Django asks for it

    def read(self, size: int) -> bytes:
        """Read bytes; raise RequestDataTooBig if there are more than the limit."""
        part: bytes = self._body.read(size)
        self._left -= len(part)
        if self._left <= 0 and self._body.read(1):
            raise RequestDataTooBig("the body is too large")
        return part


class Handler(WSGIHandler):
    """Django's handler, which also handles chunked bodies and HEAD, and counts requests."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Serve a request.

        A body sent in chunks gets a length, the greatest, because Django would take it for empty without one; like any
        other it is read when a view asks for it, after the log-in. The answer to HEAD gets no body, because a server
        might send it.
        """
        if "HTTP_TRANSFER_ENCODING" in environ and "CONTENT_LENGTH" not in environ:
            environ["wsgi.input"] = _Chunked(environ["wsgi.input"])
            environ["CONTENT_LENGTH"] = str(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        environ[REQUEST_ID] = _id_of(environ) if "HTTP_X_REQUEST_ID" in environ else _ids.next()
        response = self._serve(environ, start_response)
        if environ["REQUEST_METHOD"] == "HEAD":
            response.close()
            return []
        return response

    def _serve(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        return super().__call__(environ, start_response)

    def get_response(self, request: HttpRequest) -> HttpResponseBase:
        """Return the response."""
        begin = perf_counter()
        response = super().get_response(request)
        response.headers["X-Request-ID"] = request.META[REQUEST_ID]
        _finish(request, response, begin)
        return response


class FastHandler(Handler):
    """The handler, with a shorter path for API calls with a token.

    Such a call does not need sessions, CSRF, messages, static files, the request signals and the URL prefix, and the
    path of an operation without an id always resolves to the same view: docs/performance.md has the savings. Calls
    without a token, including those of the interactive API page with its session, pass through all middleware.
    """

    most_together = FEW
    """Calls that `carry_out` takes at a time."""

    def load_middleware(self, is_async: bool = False) -> None:  # noqa: FBT001, FBT002  Django's signature
        """Build both paths."""
        super().load_middleware(is_async)
        answer = CleanAddress(self._get_response)  # type: ignore[attr-defined]
        self._answer_call = convert_exception_to_response(answer)
        self._matches: dict[str, ResolverMatch] = {}
        self._hosts: set[str] = set()

    def _serve(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        answered: Call | None = getattr(environ["wsgi.input"], "answered", None)
        if answered is not None:
            return self._pass_on(answered, environ, start_response)
        if environ["REQUEST_METHOD"] == "HEAD" or not _is_token_call(environ):
            return super()._serve(environ, start_response)
        begin = perf_counter()
        if environ["REQUEST_METHOD"] == "GET" and (call := self._answered_list(environ, begin)):
            return self._pass_on(call, environ, start_response)
        request = WSGIRequest(environ)
        if environ.get("HTTP_HOST") not in self._hosts and not self._learn_host(request):
            return super()._serve(environ, start_response)  # which refuses it
        response = cast("HttpResponse | StreamingHttpResponse", self._answer_call(request))
        if response.streaming and getattr(connection, "must_not_wait", False):
            response.close()
            raise WouldWait  # a long answer is not for the main loop
        _begin_answer(response, environ, start_response)
        _finish(request, response, begin)
        if isinstance(response, StreamingHttpResponse):
            return response  # the server closes it, which cleans up
        connection.close_if_unusable_or_obsolete()
        request.close()
        return [response.content]

    def _answered_list(self, environ: dict[str, Any], begin: float) -> Call | None:
        """Return an answered call of list_jobs if its host is known; None for others, and those of the view."""
        match = self._matches.get(environ["PATH_INFO"])
        if match is None or environ.get("HTTP_HOST") not in self._hosts or operation_of(match, "GET") != "list_jobs":
            return None
        call = Call("list_jobs", environ, b"", begin)
        direct.answer_list(call, getattr(environ["wsgi.input"], "pages", None))
        connection.close_if_unusable_or_obsolete()
        return call if call.status else None

    def carry_out(self, contents: Sequence[Content]) -> None:
        """Carry out starts and stops of hosts and paths that are known together, and mark those that succeeded.

        Calls that are marked were carried out, whatever is raised: WouldWait, or what the database raises.
        """
        known = []
        for content in contents:
            path = content.head["PATH_INFO"]
            if content.head.get("HTTP_HOST") in self._hosts and path in self._matches:
                action = operation_of(self._matches[path], content.head["REQUEST_METHOD"])
                known.append((content, Call(action, content.head, content.getvalue(), perf_counter())))
        try:
            together.carry_out([call for _, call in known])
        finally:
            for content, call in known:
                content.answered = call if call.status else None
            connection.close_if_unusable_or_obsolete()

    def _pass_on(self, call: Call, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        """Answer a call that was carried out before."""
        response = json_response(call.answer, call.status)
        _begin_answer(response, environ, start_response)
        match = self._matches[environ["PATH_INFO"]]
        counts.note_call(match, environ["REQUEST_METHOD"], call.status, call.begin, perf_counter(), call.source)
        return [response.content]

    def _learn_host(self, request: WSGIRequest) -> bool:
        """Return whether ALLOWED_HOSTS has the host of a request; remember its header."""
        try:
            request.get_host()
        except DisallowedHost:
            return False
        if len(self._hosts) >= _MOST_HOSTS:
            self._hosts.clear()
        self._hosts.add(request.META.get("HTTP_HOST", ""))
        return True

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        """Find the view of a path; cache the few operations without an id."""
        match = self._matches.get(request.path_info)
        if match is None:
            match = super().resolve_request(request)
            if hasattr(match.func, "actions") and not match.kwargs:
                self._matches[request.path_info] = match
        request.resolver_match = match
        return match


def _begin_answer(
    response: HttpResponse | StreamingHttpResponse, environ: dict[str, Any], start_response: Callable[..., Any]
) -> None:
    """Pack an answer for a client that takes it, and send its head."""
    if "HTTP_ACCEPT_ENCODING" in environ:
        pack(response, environ["HTTP_ACCEPT_ENCODING"])
    if not response.streaming:
        response["Content-Length"] = str(len(response.content))
    headers = [*response.items(), ("X-Content-Type-Options", "nosniff"), ("X-Request-ID", environ[REQUEST_ID])]
    start_response(f"{response.status_code} {response.reason_phrase}", headers)


def _is_token_call(environ: dict[str, Any]) -> bool:
    return sent_token(environ) is not None and environ.get("PATH_INFO", "").startswith("/api/")


def _id_of(environ: dict[str, Any]) -> str:
    """Return the id that a trusted proxy has given a request, if it is harmless; else one of ours."""
    sent: str = environ["HTTP_X_REQUEST_ID"]
    is_trusted = is_listed(environ.get("REMOTE_ADDR") or UNIX_PEER, settings.TRUSTED_PROXIES)
    return sent if is_trusted and _ID.fullmatch(sent) else _ids.next()


def _finish(request: WSGIRequest | HttpRequest, response: HttpResponseBase, begin: float) -> None:
    """Count the request; read a body that was too large to its end, so that the client gets to read the answer."""
    counts.note(request, response.status_code, begin, perf_counter())
    if response.status_code < HTTPStatus.BAD_REQUEST:
        return
    note_unexplained(request, response.status_code)
    if response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        body = request.META["wsgi.input"]
        for _ in range(_MOST_READ // _PART):
            if not body.read(_PART):
                return


def get_application() -> Handler:
    """Return the handler that FAST_PATH selects, with everything loaded; refuse to start without the archive.

    Raise ImproperlyConfigured.
    """
    check_settings()
    application = (FastHandler if settings.FAST_PATH else Handler)()
    _import_everything()
    if problem := archive_problem():
        raise ImproperlyConfigured(problem)
    return application


def _import_everything() -> None:
    """Import what Django imports lazily on the first request: views, error pages, backends, template tags, formats.

    So a server that keeps running while an update replaces its files never mixes the two releases.
    """
    get_resolver().resolve_error_handler(500)
    auth.get_backends()
    for engine in engines.all():
        _ = (engine.engine.template_context_processors, engine.engine.template_loaders)  # type: ignore[attr-defined]
    get_format("DATE_FORMAT")
