"""Each operation, parameter, property and status code of shared/spec/swagger.yaml has its place in our schema."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from django.test import Client

from tests.support.paths import SHARED

SWAGGER = SHARED / "spec/swagger.yaml"

pytestmark = pytest.mark.skipif(not SWAGGER.exists(), reason=f"{SWAGGER} is not there")


@pytest.fixture(scope="module")
def theirs() -> Any:
    """Return the contract."""
    return yaml.safe_load(SWAGGER.read_text())


@pytest.fixture
def ours(db: None) -> Any:
    """Return our OpenAPI description."""
    answer = Client().get("/api/schema/", HTTP_ACCEPT="application/vnd.oai.openapi")
    assert answer.status_code == 200
    return yaml.safe_load(answer.content)


def operations(description: Any, base: str = "") -> dict[tuple[str, str], Any]:
    """Return the operations by method and path; names of path parameters and the last slash do not matter."""
    found = {}
    for path, methods in description["paths"].items():
        parts = ["{}" if part.startswith("{") else part for part in f"{base}{path}".strip("/").split("/")]
        for method, operation in methods.items():
            if method in ("get", "post", "put", "patch", "delete"):
                shared = methods.get("parameters", [])
                key = (method, "/".join(parts))
                found[key] = operation | {"parameters": [*shared, *operation.get("parameters", [])]}
    return found


def resolved(description: Any, schema: Any) -> Any:
    """Follow references."""
    while isinstance(schema, dict) and "$ref" in schema:
        value = description
        for step in schema["$ref"].removeprefix("#/").split("/"):
            value = value[step]
        schema = value
    return schema


def properties(description: Any, schema: Any, depth: int = 0) -> Iterator[str]:
    """Yield the names of all properties of a schema, with those that they hold, as dotted paths."""
    schema = resolved(description, schema)
    if not isinstance(schema, dict) or depth > 8:
        return
    for part in [*schema.get("allOf", []), *schema.get("anyOf", []), *schema.get("oneOf", [])]:
        yield from properties(description, part, depth + 1)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from (f"[].{name}" for name in properties(description, schema[key], depth + 1))
    for name, part in schema.get("properties", {}).items():
        yield name
        yield from (f"{name}.{inner}" for inner in properties(description, part, depth + 1))


def our_body(ours: Any, operation: Any) -> list[Any]:
    """Return the schemas of an operation's request body, one per media type."""
    return [
        part.get("schema", {}) for part in resolved(ours, operation.get("requestBody", {})).get("content", {}).values()
    ]


def our_answer(ours: Any, operation: Any, status: str) -> list[Any]:
    """Return the schemas of an answer, one per media type."""
    answer = resolved(ours, operation["responses"][status])
    return [part.get("schema", {}) for part in answer.get("content", {}).values()]


def test_each_operation_has_its_place(theirs: Any, ours: Any) -> None:
    assert set(operations(theirs, "/api")) - set(operations(ours)) == set()


def test_each_status_code_has_its_place(theirs: Any, ours: Any) -> None:
    mine = operations(ours)
    missing = {
        (*key, status)
        for key, operation in operations(theirs, "/api").items()
        for status in operation["responses"]
        if status not in mine[key]["responses"]
    }
    assert missing == set()


def test_each_parameter_has_its_place(theirs: Any, ours: Any) -> None:
    mine, missing = operations(ours), set()
    for key, operation in operations(theirs, "/api").items():
        named = {(parameter["in"], parameter["name"]) for parameter in mine[key]["parameters"]}
        fields = {name for schema in our_body(ours, mine[key]) for name in properties(ours, schema)}
        for parameter in operation["parameters"]:
            place, name = parameter["in"], parameter["name"]
            there = {
                "query": ("query", name) in named,
                "path": any(kind == "path" for kind, _ in named),
                "formData": name in fields or ("query", name) in named,
                "body": bool(our_body(ours, mine[key])),
            }[place]
            if not there:
                missing.add((*key, place, name))
    assert missing == set()


def test_each_property_of_a_request_body_has_its_place(theirs: Any, ours: Any) -> None:
    """What a client may send; keys that only an answer has (statistics) are taken and ignored by our Structs."""
    mine, missing = operations(ours), set()
    for key, operation in operations(theirs, "/api").items():
        for parameter in operation["parameters"]:
            if parameter["in"] == "body":
                there = {name for schema in our_body(ours, mine[key]) for name in properties(ours, schema)}
                ignored = ("statistics.", "concurrentJobs.", "statistics.[].", "[].id")
                wanted = {name for name in properties(theirs, parameter["schema"]) if not name.startswith(ignored)}
                missing |= {(*key, name) for name in wanted - there}
    assert missing == set()


def test_each_property_of_an_answer_has_its_place(theirs: Any, ours: Any) -> None:
    mine, missing = operations(ours), set()
    for key, operation in operations(theirs, "/api").items():
        for status, answer in operation["responses"].items():
            if status in mine[key]["responses"] and "schema" in answer:
                there = {name for schema in our_answer(ours, mine[key], status) for name in properties(ours, schema)}
                missing |= {(*key, status, name) for name in set(properties(theirs, answer["schema"])) - there}
    assert missing == set()


def test_both_token_headers_are_described(ours: Any) -> None:
    schemes = ours["components"]["securitySchemes"].values()
    assert any(scheme.get("name") == "X-Auth-Token" and scheme.get("in") == "header" for scheme in schemes)
    assert any(scheme.get("scheme", "").lower() == "bearer" for scheme in schemes)


def test_the_interactive_page_uses_local_assets_alone(db: None) -> None:
    page = Client().get("/api/docs/").content.decode()
    assert "swagger" in page.lower()
    assert "cdn" not in page.lower()
    assert "https://" not in page.replace("https://localhost", "")
