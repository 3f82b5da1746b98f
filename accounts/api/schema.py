"""OpenAPI descriptions of the users operations, and the parts that all descriptions share."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from msgspec import Struct

from accounts.models import Role

View = TypeVar("View", bound=Callable[..., Any])

_REASONS = {
    400: "A field, parameter or body is wrong; the message names it, its value and what was expected.",
    401: "No credentials, or the token is malformed, unknown, expired, revoked, or its user inactive.",
    403: "The role is missing, or the address is not allowed.",
    404: "There is nothing with this id or path.",
    413: "The body is larger than 32 MB.",
    422: "Understood, and refused: the message says why. Asking again does not help.",
    500: "The server failed; its log has the reason.",
    503: "The database is locked or away; nothing was changed, ask again after Retry-After.",
}


class ErrorResponse(Struct):
    """The body of every error."""

    status: str
    error: str


class MessageResponse(Struct):
    """A sentence that says what was done."""

    msg: str


class ApiReturnedUser(Struct):
    """A user."""

    username: str
    name: str
    roles: list[str]
    email: str
    projects: list[str]


def operation(
    summary: str,
    answers: dict[int | tuple[int, str], Any],
    *,
    tag: str,
    refusals: Iterable[int],
    plain_refusals: Iterable[int] = (),
    parameters: Iterable[OpenApiParameter] = (),
    request: Any = None,
    requires_body: bool = True,
    examples: Iterable[OpenApiExample] = (),
) -> Callable[[View], View]:
    """Describe an operation: its successful responses, and the statuses with which it refuses."""
    responses: dict[Any, Any] = dict(answers)
    plain = set(plain_refusals)
    of_body = set() if request is None else {413}
    for status in sorted({*refusals, *of_body, 401, 403, 500, 503}):
        description = f"{HTTPStatus(status).phrase}. {_REASONS[status]}"
        if status in plain:
            responses[status, "text/plain"] = OpenApiResponse(OpenApiTypes.STR, description=description)
            responses[status, "application/json"] = OpenApiResponse(ErrorResponse, description=description)
        else:
            responses[status] = OpenApiResponse(ErrorResponse, description=description)
    extend: Callable[[View], View] = extend_schema(
        summary=summary,
        parameters=list(parameters),
        request=request,
        responses=responses,
        tags=[tag],
        examples=list(examples),
    )

    def describe(view: View) -> View:
        described = extend(view)
        described.requires_body = requires_body  # type: ignore[attr-defined]  # ccbackend.schema reads it
        return described

    return describe


def sent(name: str, value: Any) -> OpenApiExample:
    """Return an example of a request body."""
    return OpenApiExample(name, value, request_only=True)


def answered(name: str, value: Any, status: int = 200) -> OpenApiExample:
    """Return an example of an answer."""
    return OpenApiExample(name, value, response_only=True, status_codes=[str(status)], media_type="application/json")


def _form(**properties: dict[str, Any]) -> dict[str, Any]:
    required = [name for name, schema in properties.items() if schema.pop("required", False)]
    names = {name.replace("_", "-"): {"type": "string"} | schema for name, schema in properties.items()}
    schema: dict[str, Any] = {"type": "object", "properties": names}
    if required:
        schema["required"] = required
    return {"multipart/form-data": schema, "application/x-www-form-urlencoded": schema, "application/json": schema}


_ROLES = list(Role.values)
_USER = msgspec.json.schema_components([ApiReturnedUser])[1]["ApiReturnedUser"]
_DONE: dict[int | tuple[int, str], Any] = {
    (200, "text/plain"): OpenApiResponse(OpenApiTypes.STR, description="A sentence that says what was done."),
    (200, "application/json"): OpenApiResponse(MessageResponse, description="The same, if the body was JSON."),
}

list_users = operation(
    "Returns a list of users",
    {200: {"type": "array", "items": _USER}},
    tag="users",
    refusals=[400],
    plain_refusals=[400],
    parameters=[
        OpenApiParameter(
            "not-just-user", bool, description="true: only users with a role beyond user. Default: false, all."
        )
    ],
)
create_user = operation(
    "Adds a new user",
    _DONE,
    tag="users",
    refusals=[400, 422],
    plain_refusals=[400, 422],
    request=_form(
        username={"required": True, "description": "Unique name."},
        password={
            "required": True,
            "description": "At least 8 characters, not a common password, not similar to the other fields. Optional if"
            " api is the only role; the user cannot log in then.",
        },
        role={"required": True, "enum": _ROLES},
        project={"description": "The managed project; for the role manager only."},
        name={},
        email={},
    ),
)
delete_user = operation(
    "Deletes a user",
    {200: OpenApiResponse(description="Deleted; no body.")},
    tag="users",
    refusals=[400, 422],
    plain_refusals=[400, 422],
    parameters=[OpenApiParameter("username", str, description="The user; may also be sent as a form field.")],
    request=_form(username={"description": "The user; may also be sent as a query parameter."}),
    requires_body=False,
)
update_user = operation(
    "Updates an existing user",
    _DONE,
    tag="users",
    refusals=[400, 422],
    plain_refusals=[400, 422],
    parameters=[OpenApiParameter("id", str, OpenApiParameter.PATH, description="The user's name.")],
    request=_form(
        add_role={"enum": _ROLES, "description": "Priority 1."},
        remove_role={"enum": _ROLES, "description": "Priority 2."},
        add_project={"description": "Priority 3."},
        remove_project={"description": "Priority 4."},
    ),
)
