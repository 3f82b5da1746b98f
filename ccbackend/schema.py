"""The API's description: extensions of drf-spectacular for msgspec Structs and our two token headers."""

from typing import Any, cast, get_args

import msgspec
from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from rest_framework.viewsets import ViewSet

from jobs.messages import Message

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

    def get_auth(self) -> list[dict[str, Any]]:
        """Return the alternatives to authenticate; drf-spectacular would require both token headers at once."""
        return [{name: scopes} for schemes in super().get_auth() for name, scopes in schemes.items()]

    def _get_request_body(self, direction: Any = "request") -> Any:
        """Describe the body of a DELETE too: drf-spectacular leaves it out, but the contract has it.

        A body is required, unless the operation says otherwise.
        """
        method = self.method
        self.method = "POST" if method == "DELETE" else method
        try:
            body = super()._get_request_body(direction)
        finally:
            self.method = method
        action = getattr(self.view, str(cast("ViewSet", self.view).action))
        return body and body | {"required": getattr(action, "requires_body", True)}


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
        for name, schema in components.items():
            if (struct := structs.get(name)) and issubclass(struct, Message):
                _describe_body(schema, struct)
            elif struct:
                _describe_answer(schema)
            else:
                schema["type"] = "string"  # an enumeration
            _set_formats(schema)
        own = components.pop(self.target.__name__)
        for name, schema in components.items():
            kind = structs.get(name, name)  # a name stands for an enumeration
            component = ResolvedComponent(name, ResolvedComponent.SCHEMA, schema=schema, object=kind)
            auto_schema.registry.register_on_missing(component)
        return own


def _describe_body(schema: dict[str, Any], struct: type[Message]) -> None:
    """Name the required keys of a body. No key is null: a client that has no value leaves the key out."""
    schema["required"] = list(struct.required)
    for name, described in schema["properties"].items():
        kinds = [kind for kind in described.pop("anyOf", []) if kind != {"type": "null"}]
        described.pop("default", None)
        schema["properties"][name] = described | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {})


def _describe_answer(schema: dict[str, Any]) -> None:
    """Leave out the defaults: they mark the keys that may be missing, but generators would take these for given."""
    for described in schema["properties"].values():
        described.pop("default", None)


def _set_formats(schema: Any) -> None:
    """Give integers the format that generators choose a type by, in place of the bounds that it implies."""
    parts = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    for part in parts:
        _set_formats(part)
    if isinstance(schema, dict) and schema.get("type") == "integer":
        bits = 32 if schema.get("maximum", 2**63) < 2**31 else 64
        schema["format"] = f"int{bits}"
        for bound, implied in (("minimum", -(2 ** (bits - 1))), ("maximum", 2 ** (bits - 1) - 1)):
            if schema.get(bound) == implied:
                del schema[bound]


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
