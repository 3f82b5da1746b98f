"""The base of all API views: always JSON, and only the documented methods."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.http import HttpResponse, HttpResponseBase
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.viewsets import ViewSet


class ApiViewSet(ViewSet):
    """Base of the API views, which read and write bodies as bytes, without DRF's parsers and renderers."""

    http_method_names = ["get", "head", "post", "put", "patch", "delete"]  # the contract has no OPTIONS
    plain_errors = False  # True: a 400 or 422 is the message as text/plain
    scopes: ClassVar[
        Mapping[str, tuple[str, ...]]
    ] = {}  # the scopes of which one suffices for an action, if not all is needed
    for_persons: ClassVar[frozenset[str]] = frozenset()  # the actions that need no role api with the scope read

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Authenticate and check permissions; skip content negotiation, versions and throttles."""
        self.perform_authentication(request)
        self.check_permissions(request)

    def limit_to(self, clusters: frozenset[str]) -> None:
        """Raise PermissionDenied unless a token for some clusters may make this call; some views override it."""
        raise PermissionDenied("this token is for some clusters: the call is not about one of them")

    @property
    def default_response_headers(self) -> dict[str, str]:
        """Return none: computing the Allow header costs 20 µs, and only a 405 needs it."""
        return {}

    def finalize_response(  # type: ignore[override]  # ours are Django's responses, DRF's are of no use here
        self, request: Request, response: HttpResponseBase, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        """Return the response unchanged."""
        return response


def json_response(body: bytes, status: int = 200) -> HttpResponse:
    """Return encoded JSON as a response."""
    return HttpResponse(body, status=status, content_type="application/json")
