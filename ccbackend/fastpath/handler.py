"""Django's WSGI handler with a shorter way for API calls that bring a token."""

import io
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, cast

from django.conf import settings
from django.contrib import auth
from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.db import connection
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template import engines
from django.urls import ResolverMatch, get_resolver
from django.utils.formats import get_format

from accounts.api.authentication import sent_token

_PART, _MOST_READ = 1 << 20, 1 << 28  # bytes


class Application(WSGIHandler):
    """Django's handler, with a shorter way for API calls that bring a token.

    Sessions, CSRF, messages, static files, the request signals and the URL prefix are of no use to such a call, and the
    path of an operation without an id resolves the same each time: passing all that by halves the time that a stop_job
    spends outside its view (docs/performance.md has the figures). Whoever calls without a token, the interactive API
    page with its session included, goes the whole way.
    """

    def load_middleware(self, is_async: bool = False) -> None:  # noqa: FBT001, FBT002  Django's signature
        """Build both ways."""
        super().load_middleware(is_async)
        self._token_chain = convert_exception_to_response(self._get_response)  # type: ignore[attr-defined]
        self._matches: dict[str, ResolverMatch] = {}

    def __call__(  # type: ignore[override]  # an iterable of bytes is what WSGI asks for
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Serve a request; a body sent in chunks is given the length without which Django takes it for empty."""
        if "HTTP_TRANSFER_ENCODING" in environ and "CONTENT_LENGTH" not in environ:
            body = environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
            environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
        if environ["REQUEST_METHOD"] == "HEAD":
            return self._answer_head(environ, start_response)
        if sent_token(environ) is not None and environ.get("PATH_INFO", "").startswith("/api/"):
            return self._answer_token_call(environ, start_response)
        return super().__call__(environ, start_response)

    def _answer_token_call(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = WSGIRequest(environ)
        response = cast("HttpResponse | StreamingHttpResponse", self._token_chain(request))
        if not response.streaming:
            response["Content-Length"] = str(len(response.content))
        start_response(f"{response.status_code} {response.reason_phrase}", list(response.items()))
        if isinstance(response, StreamingHttpResponse):
            return response  # closing it tidies up
        if response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            _take_rest_of_body(environ)
        connection.close_if_unusable_or_obsolete()
        request.close()
        return [response.content]

    def _answer_head(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer like a GET without the body: gunicorn would send it, and the next answer would start in it."""
        response = super().__call__(environ, start_response)
        response.close()
        return []

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        """Find the view of a path; remember the operations without an id, of which there are few."""
        match = self._matches.get(request.path_info)
        if match is None:
            match = super().resolve_request(request)
            if hasattr(match.func, "actions") and not match.kwargs:
                self._matches[request.path_info] = match
        request.resolver_match = match
        return match


def _take_rest_of_body(environ: dict[str, Any]) -> None:
    """Read what a client is still sending of a body that was refused, so that it comes to read the answer."""
    for _ in range(_MOST_READ // _PART):
        if not environ["wsgi.input"].read(_PART):
            return


def import_everything() -> None:
    """Import what Django else imports on the first request: views, error pages, back ends, template tags, formats.

    A server that goes on while its files are replaced by an update so never mixes the two.
    """
    get_resolver().resolve_error_handler(500)
    auth.get_backends()
    for engine in engines.all():
        _ = (engine.engine.template_context_processors, engine.engine.template_loaders)  # type: ignore[attr-defined]
    get_format("DATE_FORMAT")
