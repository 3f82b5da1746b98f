"""The API's description: extensions of drf-spectacular for msgspec Structs and our two token headers."""

from typing import Any, cast, get_args

import msgspec
from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from rest_framework.viewsets import ViewSet

_REFERENCE = "#/components/schemas/{name}"


def only_api_operations(endpoints: list[Any]) -> list[Any]:
    """Leave the description itself out of the description."""
    return [endpoint for endpoint in endpoints if not endpoint[0].startswith(("/api/schema", "/api/docs"))]


class OperationSchema(AutoSchema):
    """Describe an operation by the name that it has in the code."""

    def get_operation_id(self) -> str:
        """Return the action's name; that of a second method of the same action also has the method."""
        view = cast("ViewSet", self.view)
        action, method = str(view.action), self.method.lower()
        first = next(key for key, value in (view.action_map or {}).items() if value == action)
        return action if method == first else f"{action}_{method}"

    def _get_request_body(self, direction: Any = "request") -> Any:
        """Describe the body of a DELETE too: drf-spectacular leaves it out, but the contract has it."""
        method = self.method
        self.method = "POST" if method == "DELETE" else method
        try:
            return super()._get_request_body(direction)
        finally:
            self.method = method


class StructExtension(OpenApiSerializerExtension):
    """Describe a msgspec Struct by msgspec's own JSON schema of it."""

    target_class = "msgspec.Struct"
    match_subclasses = True

    def get_name(self, auto_schema: AutoSchema, direction: Any) -> str:
        """Return the name of the component."""
        return str(self.target.__name__)

    def map_serializer(self, auto_schema: AutoSchema, direction: Any) -> dict[str, Any]:
        """Return the schema, registering those of the Structs that it contains."""
        structs = {struct.__name__: struct for struct in _structs_in(self.target)}
        _, components = msgspec.json.schema_components([self.target], ref_template=_REFERENCE)
        own = components.pop(self.target.__name__)
        for name, schema in components.items():
            component = ResolvedComponent(name, ResolvedComponent.SCHEMA, schema=schema, object=structs[name])
            auto_schema.registry.register_on_missing(component)
        return own


def _structs_in(kind: Any) -> set[type[msgspec.Struct]]:
    """Return a Struct and all Structs in it; or the Structs in a list, mapping or union."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return {kind}.union(*(_structs_in(field.type) for field in msgspec.structs.fields(kind)))
    return set().union(*(_structs_in(part) for part in get_args(kind)))


class TokenScheme(OpenApiAuthenticationExtension):
    """Describe the two headers that carry a token."""

    target_class = "accounts.api.authentication.TokenAuthentication"
    name = ["ApiKeyAuth", "BearerAuth"]

    def get_security_definition(self, auto_schema: AutoSchema) -> list[dict[str, Any]]:
        """Return both schemes, in the order of the names."""
        return [
            {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
            {"type": "http", "scheme": "bearer"},
        ]


class MetricStoreScheme(OpenApiAuthenticationExtension):
    """Describe that clients with an address in METRIC_STORE_IPS need no credentials."""

    target_class = "accounts.api.authentication.MetricStoreAuthentication"
    name: list[str] = []

    def get_security_requirement(self, auto_schema: AutoSchema) -> dict[str, list[Any]]:
        """Return the requirement of nothing."""
        return {}

    def get_security_definition(self, auto_schema: AutoSchema) -> list[dict[str, Any]]:
        """Return no scheme."""
        return []


class SessionScheme(OpenApiAuthenticationExtension):
    """Describe the session of the admin site."""

    target_class = "accounts.api.authentication.SessionAuthentication"
    name = "AdminSession"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        """Return the cookie."""
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}
