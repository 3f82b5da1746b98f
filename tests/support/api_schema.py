"""The check of an API answer against the project's own OpenAPI description."""

import functools
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from drf_spectacular.generators import SchemaGenerator
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

_REFERENCE = "#/components/schemas/"
_END = 100  # items
_SAMPLE = {"anyOf": [{"type": "number"}, {"type": "null"}]}


def _items(validator: Any, schema: Any, array: Any, parent: Any) -> Iterator[ValidationError]:
    """Validate the items of an array: of samples one of each Python type, of other long arrays both ends."""
    if schema == _SAMPLE and isinstance(array, list):
        array = list({type(sample): sample for sample in array}.values())
    elif isinstance(array, list) and len(array) > 2 * _END:
        array = array[:_END] + array[-_END:]
    yield from Draft202012Validator.VALIDATORS["items"](validator, schema, array, parent)


_Validator = extend(Draft202012Validator, {"items": _items})


# The bodies of an answer by media type; the validator of JSON, none of text. Empty where no body is described.
Bodies = dict[str, Draft202012Validator | None]


class Place(NamedTuple):
    """A path of the description: its pattern, and the described answers by method and status."""

    pattern: re.Pattern[str]
    answers: dict[str, dict[str, Bodies]]


def check_described(method: str, path: str, status: int, kind: str, body: bytes) -> None:
    """Raise AssertionError unless the description has this answer: its status, content type and body.

    `path` is without a query, `kind` the Content-Type, empty where there is none. A path or method that the
    description has not must be refused as every refusal is.
    """
    about = f"{method} {path}: {status} {kind} {body[:300]!r}"
    place = _place(path)
    answers = None if place is None else place.answers.get("GET" if method == "HEAD" else method)
    if answers is None:
        assert status == (404 if place is None else 405) or status in (401, 403, 503), f"not refused: {about}"
        bodies: Bodies = {"application/json": _refusal()}
    else:
        assert str(status) in answers, f"the status is not described: {about}"
        bodies = answers[str(status)]
    if method == "HEAD" or not bodies:
        assert body == b"", f"a body where none may be: {about}"
        return
    media_type = kind.partition(";")[0]
    assert media_type in bodies, f"the content type is not described: {about}"
    validator = bodies[media_type]
    if validator is None:
        assert body, f"no text: {about}"
    else:
        assert kind == media_type, f"JSON has no charset: {about}"
        for document in body.splitlines() if media_type == "application/x-ndjson" else [body]:
            _validate(validator, document, about)


def _validate(validator: Draft202012Validator, body: bytes, about: str) -> None:
    error = next(validator.iter_errors(json.loads(body)), None)
    assert error is None, f"not as described, at {error.json_path}: {error.message[:300]}\n{about}"


@functools.cache
def description() -> Any:
    """Return the OpenAPI description of the API, generated once per process."""
    return SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]


@functools.cache
def _places() -> list[Place]:
    """Return the described paths, those without parameters first."""
    places = []
    for path, operations in sorted(description()["paths"].items(), key=lambda item: item[0].count("{")):
        pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path.rstrip("/")))
        answers = {
            method.upper(): {status: _bodies(answer) for status, answer in operation["responses"].items()}
            for method, operation in operations.items()
        }
        places.append(Place(re.compile(f"{pattern}/?"), answers))
    return places


def _bodies(answer: Any) -> Bodies:
    return {
        media_type: _validator(json.dumps(part["schema"])) if media_type.endswith("json") else None
        for media_type, part in answer.get("content", {}).items()
    }


@functools.cache
def _place(path: str) -> Place | None:
    return next((place for place in _places() if place.pattern.fullmatch(path)), None)


@functools.cache
def _validator(schema: str) -> Draft202012Validator:
    """Return the validator of a schema given as JSON: one for all operations that answer alike."""
    return _Validator(_closed(json.loads(schema)))


def _refusal() -> Draft202012Validator:
    return _validator(json.dumps({"$ref": f"{_REFERENCE}ErrorResponse"}))


def _closed(schema: Any) -> Any:
    """Return a schema with its references replaced, and objects that may have no other properties than described."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _closed(description()["components"]["schemas"][schema["$ref"].removeprefix(_REFERENCE)])
    closed = {key: _closed(part) for key, part in schema.items()}
    return {"additionalProperties": False} | closed if "properties" in schema else closed
