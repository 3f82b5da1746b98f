"""Django's WSGI handler, and one with a shorter way for API calls that bring a token."""

import io
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

from django.conf import settings
from django.contrib import auth
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.template import engines
from django.urls import ResolverMatch, get_resolver
from django.utils.formats import get_format

from accounts.api.authentication import sent_token
from ccbackend.fastpath.counts import count
from jobs.checks import archive_problem

_PART, _MOST_READ = 1 << 20, 1 << 28  # bytes


class Handler(WSGIHandler):
    """Django's handler, with what HTTP servers leave to the application; counts requests."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Serve a request.

        A body sent in chunks gets the length without which Django takes it for empty. The answer to HEAD has no body,
        which a server might send.
        """
        if "HTTP_TRANSFER_ENCODING" in environ and "CONTENT_LENGTH" not in environ:
            body = environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
            environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
        response = self._serve(environ, start_response)
        if environ["REQUEST_METHOD"] == "HEAD":
            response.close()
            return []
        return response

    def _serve(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        return super().__call__(environ, start_response)

    def get_response(self, request: HttpRequest) -> HttpResponseBase:
        """Return the response."""
        response = super().get_response(request)
        _finish(request, response)
        return response


class FastHandler(Handler):
    """The handler, with a shorter way for API calls that bring a token.

    Sessions, CSRF, messages, static files, the request signals and the URL prefix are of no use to such a call, and the
    path of an operation without an id resolves the same each time: docs/performance.md has what this saves. Calls
    without a token, those of the interactive API page with its session included, go the whole way.
    """

    def load_middleware(self, is_async: bool = False) -> None:  # noqa: FBT001, FBT002  Django's signature
        """Build both ways."""
        super().load_middleware(is_async)
        self._answer_call = convert_exception_to_response(self._get_response)  # type: ignore[attr-defined]
        self._matches: dict[str, ResolverMatch] = {}

    def _serve(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if environ["REQUEST_METHOD"] == "HEAD" or not _is_token_call(environ):
            return super()._serve(environ, start_response)
        request = WSGIRequest(environ)
        response = cast("HttpResponse | StreamingHttpResponse", self._answer_call(request))
        if not response.streaming:
            response["Content-Length"] = str(len(response.content))
        start_response(f"{response.status_code} {response.reason_phrase}", list(response.items()))
        _finish(request, response)
        if isinstance(response, StreamingHttpResponse):
            return response  # closing it tidies up
        connection.close_if_unusable_or_obsolete()
        request.close()
        return [response.content]

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        """Find the view of a path; remember the operations without an id, of which there are few."""
        match = self._matches.get(request.path_info)
        if match is None:
            match = super().resolve_request(request)
            if hasattr(match.func, "actions") and not match.kwargs:
                self._matches[request.path_info] = match
        request.resolver_match = match
        return match


def _is_token_call(environ: dict[str, Any]) -> bool:
    return sent_token(environ) is not None and environ.get("PATH_INFO", "").startswith("/api/")


def _finish(request: WSGIRequest | HttpRequest, response: HttpResponseBase) -> None:
    """Count the request; read to its end a body that was refused, so that its client comes to read the answer."""
    count(request, response.status_code)
    if response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        body = request.META["wsgi.input"]
        for _ in range(_MOST_READ // _PART):
            if not body.read(_PART):
                return


def get_application() -> Handler:
    """Return the handler that FAST_PATH names, with everything loaded; refuse to start without the archive."""
    application = (FastHandler if settings.FAST_PATH else Handler)()
    _import_everything()
    if problem := archive_problem():
        raise ImproperlyConfigured(problem)
    return application


def _import_everything() -> None:
    """Import what Django else imports on the first request: views, error pages, back ends, template tags, formats.

    A server that goes on while its files are replaced by an update so never mixes the two.
    """
    get_resolver().resolve_error_handler(500)
    auth.get_backends()
    for engine in engines.all():
        _ = (engine.engine.template_context_processors, engine.engine.template_loaders)  # type: ignore[attr-defined]
    get_format("DATE_FORMAT")
