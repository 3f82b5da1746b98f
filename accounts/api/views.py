"""The users operations; they require the role admin and an allowed address."""

import json
from collections.abc import Sequence

from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from django.utils.datastructures import MultiValueDict
from rest_framework.request import Request

from accounts import services
from accounts.api import schema
from accounts.api.authentication import caller
from accounts.api.base import ApiViewSet, json_response
from accounts.api.permissions import HasAdminRole
from accounts.exceptions import InvalidAccountError
from accounts.models import Role, User

_CREATE = ("username", "password", "role", "project", "name", "email")
_UPDATE = ("add-role", "remove-role", "add-project", "remove-project")


class UsersViewSet(ApiViewSet):
    """Manage the users of this server."""

    permission_classes = [HasAdminRole]
    plain_errors = True

    @schema.list_users
    def list_users(self, request: Request) -> HttpResponse:
        """List users; with not-just-user=true only those with a role beyond user."""
        text = request.query_params.get("not-just-user", "false")
        if text not in ("true", "false"):
            raise InvalidAccountError(f"not-just-user={text!r}: expected true or false")
        users = User.objects.with_access()
        chosen = [user for user in users if text == "false" or user.roles != [Role.USER]]
        return json_response(json.dumps([_as_dict(user) for user in chosen]).encode() + b"\n")

    @schema.create_user
    def create_user(self, request: Request) -> HttpResponse:
        """Create a user."""
        form = self._form(request._request, _CREATE)
        username, role = _required(form, "username"), _required(form, "role")
        project = form.get("project", "")
        services.create_user(
            username=username,
            password=form.get("password", ""),
            roles=[role],
            projects=[project] if project else [],
            name=form.get("name", ""),
            email=form.get("email", ""),
        )
        return self._done(f"User {username} successfully created!", "\n")

    @schema.delete_user
    def delete_user(self, request: Request) -> HttpResponse:
        """Delete a user; the answer has no body."""
        form = self._form(request._request, ("username",))
        services.delete_user(username=_required(form, "username"), actor=caller(request))
        return _plain("")

    @schema.update_user
    def update_user(self, request: Request, id: str) -> HttpResponse:
        """Change one role or project of a user, by the first of the four fields that is present."""
        form = self._form(request._request, _UPDATE)
        of_user = "" if self.plain_errors else f" for user {id}"
        if role := form.get("add-role"):
            services.add_role(username=id, role=role)
            return self._done(f"Add Role Success{of_user}")
        if role := form.get("remove-role"):
            services.remove_role(username=id, role=role)
            return self._done(f"Remove Role Success{of_user}")
        if project := form.get("add-project"):
            services.add_project(username=id, project=project)
            return self._done(f"Add Project Success{of_user}")
        if project := form.get("remove-project"):
            services.remove_project(username=id, project=project)
            return self._done(f"Remove Project Success{of_user}")
        raise InvalidAccountError(f"expected one of {', '.join(_UPDATE)}, got none")

    def _form(self, request: HttpRequest, names: Sequence[str]) -> dict[str, str]:
        """Return the fields of a request. JSON is answered in JSON, errors included."""
        self.plain_errors = not _is_json(request)
        return _fields(request) if self.plain_errors else _json_fields(request, names)

    def _done(self, text: str, end: str = "") -> HttpResponse:
        return _plain(text + end) if self.plain_errors else json_response(json.dumps({"msg": text}).encode() + b"\n")


def _as_dict(user: User) -> dict[str, object]:
    return {
        "username": user.username,
        "name": user.name,
        "roles": user.roles,
        "email": user.email,
        "projects": user.projects,
    }


def _plain(text: str) -> HttpResponse:
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


def _required(form: dict[str, str], name: str) -> str:
    if not form.get(name):
        raise InvalidAccountError(f"{name} is required: expected a form field or query parameter, got none")
    return form[name]


def _is_json(request: HttpRequest) -> bool:
    """Return whether the body is JSON; curl sends JSON with the content type of a form unless told otherwise."""
    kind = request.content_type or ""
    return not kind.startswith("multipart/") and (
        request.body.lstrip()[:1] == b"{" or (kind.endswith("json") and request.body.strip() != b"")
    )


def _json_fields(request: HttpRequest, names: Sequence[str]) -> dict[str, str]:
    """Return the fields of a JSON object and of the query string; the body wins."""
    try:
        document = json.loads(request.body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise InvalidAccountError("parsing request body failed: expected a JSON object") from None
    if not isinstance(document, dict):
        raise InvalidAccountError("parsing request body failed: expected a JSON object")
    fields = {name: values[0].replace("\0", "") for name, values in request.GET.lists() if values}
    for key, value in document.items():
        name = key.lower()
        if name not in names:
            raise InvalidAccountError(f"unknown field {key[:60]!a}, expected one of {', '.join(names)}")
        if not isinstance(value, str | None):
            raise InvalidAccountError(f"field {name!r}: expected a text")
        if value is not None:
            fields[name] = value.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return fields


def _fields(request: HttpRequest) -> dict[str, str]:
    """Return the fields of a multipart or urlencoded body and of the query string; the body wins.

    Unlike Django's request.POST, this also reads the forms of PUT and DELETE.
    """
    fields: dict[str, str] = {}
    body: QueryDict = QueryDict(mutable=True)
    if (request.content_type or "").startswith("multipart/"):
        body = _multipart(request)
    elif request.content_type in ("", "application/x-www-form-urlencoded", None):
        body = QueryDict(request.body)
    sources: tuple[MultiValueDict[str, str], ...] = (request.GET, body)
    for source in sources:
        fields |= {name: values[0].replace("\0", "") for name, values in source.lists() if values}
    return fields


def _multipart(request: HttpRequest) -> QueryDict:
    try:
        fields, _ = MultiPartParser(request.META, request, request.upload_handlers).parse()
    except MultiPartParserError as error:
        raise InvalidAccountError(f"parsing the multipart body failed: {error}") from None
    return fields
