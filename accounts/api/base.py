"""What all views of the API share: JSON whatever the client asks for, and nothing but the documented methods."""

from typing import Any

from django.http import HttpResponse, HttpResponseBase
from rest_framework.request import Request
from rest_framework.viewsets import ViewSet


class ApiViewSet(ViewSet):
    """Base of the API's views: bodies are read and answers written by the views themselves, as bytes."""

    http_method_names = ["get", "head", "post", "put", "patch", "delete"]  # OPTIONS is no operation of the contract
    plain_errors = False  # True: a 400 or 422 is the message as text/plain

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Authenticate and check permissions; nothing depends on Accept, Content-Type, versions or throttles."""
        self.perform_authentication(request)
        self.check_permissions(request)

    @property
    def default_response_headers(self) -> dict[str, str]:
        """Return none: finding out the Allow header costs 20 µs, and only a 405 has a use for it."""
        return {}

    def finalize_response(  # type: ignore[override]  # ours are Django's responses, DRF's are of no use here
        self, request: Request, response: HttpResponseBase, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        """Return the response as it is."""
        return response


def json_response(body: bytes, status: int = 200) -> HttpResponse:
    """Return encoded JSON as a response."""
    return HttpResponse(body, status=status, content_type="application/json")
