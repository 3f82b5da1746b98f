"""The addresses that monitoring asks: /healthz, /readyz and /metrics."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from itertools import accumulate, groupby

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from accounts.addresses import client_address, is_from
from accounts.api.authentication import sent_token
from accounts.credentials import user_of
from accounts.exceptions import AddressRefusedError, InvalidTokenError
from accounts.models import Role, TokenScope
from ccbackend.errors import error_response
from ccbackend.fastpath import counts
from jobs.health.checks import not_ready
from jobs.health.database import known_migrations
from jobs.health.metrics import CONTENT_TYPE, Family, exposition, families

View = Callable[[HttpRequest], HttpResponse]

known_migrations()  # read now: the files may be those of another release when the first request comes


def for_monitoring(view: View) -> View:
    """Restrict a view to clients in MONITORING_ALLOWED_IPS and those with a token of role admin."""

    @wraps(view)
    def restricted(request: HttpRequest) -> HttpResponse:
        if is_from(request, settings.MONITORING_ALLOWED_IPS):
            return view(request)
        token, address = sent_token(request.META), client_address(request)
        if token is None:
            reason = f"address {address} is not in MONITORING_ALLOWED_IPS, and no token of role admin was sent"
            return error_response(403, reason)
        try:
            user, credential = user_of(token, address)
        except (InvalidTokenError, AddressRefusedError) as error:
            return error_response(error.status_code, str(error))
        if credential.scope == TokenScope.REPORT or credential.clusters:
            return error_response(403, f"this token is limited to {credential.scope}, or to some clusters")
        return view(request) if user.has_role(Role.ADMIN) else error_response(403, "missing role: admin")

    return restricted


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Answer that the process lives; look at nothing."""
    return HttpResponse("ok\n", content_type="text/plain; charset=utf-8")


@require_safe
@for_monitoring
def readyz(request: HttpRequest) -> HttpResponse:
    """Answer 200 if the database can be used and the archive be written, else 503 with the reasons."""
    findings = not_ready()
    body = {"ready": not findings, "findings": [finding.as_dict() for finding in findings]}
    response = JsonResponse(body, status=503 if findings else 200)
    response._has_been_logged = True  # type: ignore[attr-defined]  # a line for each look would flood the log
    return response


@require_safe
@for_monitoring
def metrics(request: HttpRequest) -> HttpResponse:
    """Return the figures of the server for Prometheus."""
    counts.tally()
    found = [*families(int(time.time()), settings.VERSION), *_of_requests()]
    return HttpResponse(exposition(found), content_type=CONTENT_TYPE)


def _of_requests() -> Iterator[Family]:
    """Yield the figures of the requests that the server's processes have answered, since it was started.

    Other servers than gunicorn start processes that share nothing; then the label process keeps them apart.
    """
    process = {} if counts.shared.is_shared else {"process": str(os.getpid())}
    found = counts.answered()
    answered = [
        ({**process, "operation": each.operation, "status": each.status}, sum(each.intervals)) for each in found
    ]
    yield Family("requests_total", "counter", "Requests that were answered.", tuple(answered))
    parts: list[tuple[str, Mapping[str, str], float]] = []
    for operation, some in groupby(sorted(found, key=_operation), key=_operation):
        labels = {**process, "operation": operation}
        each = list(some)
        sums = list(accumulate(map(sum, zip(*(one.intervals for one in each), strict=True))))
        limits = [*map(str, counts.LIMITS), "+Inf"]
        parts += [("_bucket", {**labels, "le": limit}, number) for limit, number in zip(limits, sums, strict=True)]
        parts += [("_sum", labels, sum(one.seconds for one in each)), ("_count", labels, sums[-1])]
    text = "Seconds from a request to its answer within the application."
    yield Family("request_seconds", "histogram", text, (), tuple(parts))


def _operation(answered: counts.Answered) -> str:
    return answered.operation
