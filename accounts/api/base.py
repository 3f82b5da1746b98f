"""The base of all API views: always JSON, and only the documented methods."""

from typing import Any

from django.http import HttpResponse, HttpResponseBase
from rest_framework.request import Request
from rest_framework.viewsets import ViewSet


class ApiViewSet(ViewSet):
    """Base of the API views, which read and write bodies as bytes, without DRF's parsers and renderers."""

    http_method_names = ["get", "head", "post", "put", "patch", "delete"]  # the contract has no OPTIONS
    plain_errors = False  # True: a 400 or 422 is the message as text/plain

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Authenticate and check permissions; skip content negotiation, versions and throttles."""
        self.perform_authentication(request)
        self.check_permissions(request)

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
