"""The calls of the API by their callers, as the page Health counts them."""

from http import HTTPStatus

from django.http import HttpRequest

from accounts import tokens
from accounts.addresses import client_address
from accounts.api.authentication import sent_token
from accounts.models import User
from ccbackend.fastpath.counts import authenticated, operation_of
from jobs.exceptions import DuplicateJobError, JobNotRunningError
from jobs.health import counting
from jobs.states import CallOutcome

_REPEATS = (DuplicateJobError, JobNotRunningError)


def prefix_of(request: HttpRequest) -> str:
    """Return the first characters of the token that was sent; empty if none was, or no token of this server."""
    token = sent_token(request.META) or ""
    return tokens.visible_prefix(token) if tokens.is_well_formed(token) else ""


def note_unexplained(request: HttpRequest, status: int) -> None:
    """Count a call of the API that was refused in another way than by `note_refusal`."""
    if not hasattr(request, "refusal") and f"{request.path_info}/".startswith("/api/"):
        note_refusal(request, status, HTTPStatus(status).phrase)


def note_refusal(request: HttpRequest, status: int, message: str, error: Exception | None = None) -> None:
    """Count a call that was not carried out, or one in the body of the call events."""
    request.refusal = message  # type: ignore[attr-defined]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        outcome = CallOutcome.FAILED
    else:
        outcome = CallOutcome.REPEAT if isinstance(error, _REPEATS) else CallOutcome.REFUSED
    token, user, address = getattr(request, "auth", None), authenticated(request), client_address(request)
    source = prefix_of(request) if token is None else token.source
    is_known = token is not None or isinstance(user, User)
    if not source:
        source = f"user {user.username}" if isinstance(user, User) else address
    operation = operation_of(request.resolver_match, request.method) or "other"
    counting.refused(source, operation, outcome, message, address=address, status=status, is_known=is_known)
