"""Decode request bodies to messages: a fast strict step, then a tolerant one for bodies that it refuses.

The first step is msgspec's decoder for the message type. Only a body that it refuses is read again with the tolerance
that old clients need: keys in any case, integers as decimal strings, texts that are not UTF-8, nulls. A body that is
still invalid is refused with the name of the field, its value and the expectation.
"""

import json
import re
from functools import cache
from typing import Any, TypeVar, get_args, get_origin

import msgspec
from msgspec import Struct

from jobs.exceptions import InvalidJobError
from jobs.messages import Ignored
from jobs.text import LATEST_TIME, TOO_LATE, clean_text

T = TypeVar("T")

_DIGITS = re.compile(r"-?[0-9]{1,30}")
_PLACE = re.compile(r"^(.*?)(?: - at `\$(.*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[([^\]]*)\]")
_NUL_ESCAPE = b"\\u0000"
_SHOWN = 60  # characters of a wrong value in an error message


@cache
def _decoder(message: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(message)


def decode(body: bytes, message: type[T]) -> T:
    """Decode a request body into a message type: a Struct or a list type.

    Raises InvalidJobError that names the field, the value and the expectation.
    """
    if _NUL_ESCAPE not in body:
        try:
            decoded: T = _decoder(message).decode(body)  # type: ignore[arg-type]  # a type is hashable
            return decoded
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass
    return _decode_patiently(body, message)


def _decode_patiently(body: bytes, message: type[T]) -> T:
    if not body.strip():
        raise InvalidJobError(f"parsing request body failed: expected {_article(message)}, got an empty body")
    text = body.decode("utf-8", "replace").replace("\0", "")
    try:
        tree = _read(json.loads(text, object_pairs_hook=_Pairs, parse_constant=_refuse_constant), message, "")
        return msgspec.convert(tree, message)
    except json.JSONDecodeError as error:
        raise InvalidJobError(f"parsing request body failed: not JSON at character {error.pos}: {error.msg}") from None
    except RecursionError:
        raise InvalidJobError("parsing request body failed: nested too deeply") from None
    except ValueError as error:
        if isinstance(error, msgspec.ValidationError):
            raise InvalidJobError(_explain(error, tree)) from None
        raise InvalidJobError(f"parsing request body failed: {error}") from None


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as its pairs, so that a key that occurs twice in different case is not lost."""


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _read(value: Any, kind: Any, path: str) -> Any:
    """Convert a decoded value to the exact form of a type, as far as that loses nothing."""
    kind = _without_none(kind)
    if isinstance(value, _Pairs):
        if isinstance(kind, type) and issubclass(kind, Struct):
            return _read_struct(value, kind, path)
        item = get_args(kind)[1] if get_origin(kind) is dict else Any
        return {clean_text(key): _read(part, item, f"{path}.{key}") for key, part in value}
    if isinstance(value, list):
        item = get_args(kind)[0] if get_origin(kind) is list else Any
        return [_read(part, item, f"{path}[{number}]") for number, part in enumerate(value)]
    if isinstance(value, str):
        value = clean_text(value)
        return int(value) if _is_integer(kind) and _DIGITS.fullmatch(value) else value
    return value


def _read_struct(pairs: _Pairs, kind: type[Struct], path: str) -> dict[str, Any]:
    fields = _fields(kind)
    known: dict[str, Any] = {}
    for key, part in pairs:
        found = fields.get(key.lower())
        if found is None:
            place = f" in {path.lstrip('.')}" if path else ""
            raise ValueError(f"unknown field {clean_text(key)!r}{place}")
        name, field_kind = found
        known.pop(name, None)
        if part is not None and field_kind != Ignored:
            known[name] = _read(part, field_kind, f"{path}.{name}")
    return known


@cache
def _fields(kind: type[Struct]) -> dict[str, tuple[str, Any]]:
    return {field.encode_name.lower(): (field.encode_name, field.type) for field in msgspec.structs.fields(kind)}


def _without_none(kind: Any) -> Any:
    parts = [part for part in get_args(kind) if part is not type(None)]
    return parts[0] if parts and type(None) in get_args(kind) else kind


def _is_integer(kind: Any) -> bool:
    return kind is int or (get_args(kind)[:1] == (int,) and get_origin(kind) is not list)


def _explain(error: msgspec.ValidationError, tree: Any) -> str:
    """Return msgspec's message, extended by the value that was sent."""
    found = _PLACE.match(str(error))
    expectation, path = (found[1], found[2] or "") if found else (str(error), "")
    expectation = re.sub(r", got .*$", "", expectation).replace("`", "").replace(" | null", "")
    expectation = expectation[:1].lower() + expectation[1:]
    if expectation.endswith(f"<= {LATEST_TIME}"):
        expectation = TOO_LATE
    if not path:
        return f"parsing request body failed: {expectation}, got {_shown(tree)}"
    value, named = tree, ""
    for name, index in _STEP.findall(path):
        if name:
            value, named = value[name], f"{named}.{name}"
        elif index.isdecimal():
            value, named = value[int(index)], f"{named}[{index}]"
        else:  # msgspec writes [...] for any value of a mapping
            key, value = next(((k, v) for k, v in value.items() if not isinstance(v, str)), ("", value))
            named = f"{named}.{key}"
    return f"field '{named.lstrip('.')}': {expectation}, got {_shown(value)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _article(message: Any) -> str:
    return "a JSON array" if get_origin(message) is list else "a JSON object"
