"""The keys of foreign JSON objects, read as Go's decoder does: their case is ignored, and null means missing."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

Value = TypeVar("Value")

Shape = Mapping[str, Any]
"""The known keys of an object, each with the shape of the objects in its value, however deep in lists, or None."""

_NULL = b"null"


def with_known_keys(document: Mapping[str, Value], keys: Mapping[str, object]) -> dict[str, Value]:
    """Return the known keys in canonical case, without nulls; an exact match wins over one in another case."""
    folded = {key.lower(): key for key in keys}
    known: dict[str, Value] = {}
    for name, value in document.items():
        key = name if name in keys else folded.get(name.lower())
        if key is not None and (name == key or key not in document) and not is_null(value):
            known[key] = value
    return known


def in_shape(value: Any, shape: Shape) -> Any:
    """Return a decoded value with the known keys of all its objects; what has another form is returned as it is."""
    if isinstance(value, list):
        return [in_shape(item, shape) for item in value]
    if not isinstance(value, dict):
        return value
    known = with_known_keys(value, shape)
    return {key: in_shape(item, shape[key]) if shape[key] else item for key, item in known.items()}


def is_null(value: object) -> bool:
    """Return whether a value, decoded or not, is null."""
    return value is None or (isinstance(value, msgspec.Raw) and bytes(memoryview(value)[:4]) == _NULL)
