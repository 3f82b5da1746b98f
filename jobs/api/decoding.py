"""Decode request bodies to messages: a fast strict step, then a tolerant one for bodies that it refuses.

The first step is msgspec's decoder for the message type. Only a body that it refuses is read again with the tolerance
that old clients need: keys in any case, integers as decimal strings, texts that are not UTF-8, nulls. A body that is
still invalid is refused with the name of the field, its value and the expectation. The tolerant step takes a body
apart only as far as it must, so that a script of many MB is copied once, and no tree of all values is built.
"""

import codecs
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar, get_args, get_origin

import msgspec
from msgspec import Raw, Struct

from jobs.exceptions import InvalidJobError
from jobs.messages import Ignored
from jobs.text import LATEST_TIME, TOO_LATE

T = TypeVar("T")

_DIGITS = re.compile(r"-?[0-9]{1,30}")
_PLACE = re.compile(r" - at `.*`$", re.DOTALL)
_NUL_ESCAPE = b"\\u0000"
_NO_TEXT = re.compile(  # NUL, and halves of surrogate pairs; a whole pair is one character
    rb"\\u(?:0000|(?P<pair>[dD][89abAB]..\\u[dD][c-fC-F]..)|[dD][89a-fA-F][0-9a-fA-F]{2})", re.DOTALL
)
_BACKSLASH = ord("\\")
_PIECE = 64 * 1024  # bytes
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
    if not body or body.isspace():
        raise InvalidJobError(f"parsing request body failed: expected {_article(message)}, got an empty body")
    try:
        decoded: T = _read(_clean(body), message, "")
    except msgspec.DecodeError as error:
        reason = str(error).removeprefix("JSON is malformed: ")
        raise InvalidJobError(f"parsing request body failed: not JSON: {reason}") from None
    except RecursionError:
        raise InvalidJobError("parsing request body failed: nested too deeply") from None
    return decoded


def _clean(body: bytes) -> bytes | bytearray:
    """Return a body in UTF-8 without NUL, which PostgreSQL refuses; U+FFFD stands for what is no text."""
    text = body if _is_utf8(body) and b"\0" not in body else b"".join(_utf8_pieces(body, "replace"))
    kept, done = bytearray(), 0
    for found in _NO_TEXT.finditer(text):
        if not found["pair"] and not _is_escaped(text, found.start()):
            kept += memoryview(text)[done : found.start()]
            kept += b"" if found[0] == _NUL_ESCAPE else b"\\ufffd"
            done = found.end()
    if not done:
        return text
    kept += memoryview(text)[done:]
    return kept


def _is_utf8(body: bytes) -> bool:
    try:
        return body.isascii() or all(True for _ in _utf8_pieces(body, "strict"))
    except UnicodeDecodeError:
        return False


def _utf8_pieces(body: bytes, errors: str) -> Iterator[bytes]:
    """Yield a body in UTF-8 without NUL, decoded in pieces: a text may take four times the memory of its bytes."""
    utf8 = codecs.getincrementaldecoder("utf-8")(errors)
    for start in range(0, len(body), _PIECE):
        piece = utf8.decode(body[start : start + _PIECE], final=start + _PIECE >= len(body))
        yield piece.replace("\0", "").encode()


def _is_escaped(text: bytes, place: int) -> bool:
    """Return whether a backslash is the second of two, after an odd number of others."""
    first = place
    while first and text[first - 1] == _BACKSLASH:
        first -= 1
    return (place - first) % 2 == 1


def _read(raw: Any, kind: Any, path: str) -> Any:
    """Decode a JSON text to a type: strictly, or part by part with the tolerance that loses nothing."""
    try:
        return _decoder(kind).decode(raw)
    except msgspec.ValidationError as error:
        reason = str(error)
    inner, first = _without_none(kind), bytes(memoryview(raw)[:_PIECE]).lstrip()[:1]
    if first == b"{" and isinstance(inner, type) and issubclass(inner, Struct):
        return _read_struct(raw, inner, path)
    if first == b"{" and get_origin(inner) is dict:
        return {key: _read(part, get_args(inner)[1], f"{path}.{key}") for key, part in _parts(raw).items()}
    if first == b"[" and get_origin(inner) is list:
        parts = _decoder(list[Raw]).decode(raw)
        return [_read(part, get_args(inner)[0], f"{path}[{number}]") for number, part in enumerate(parts)]
    if first == b'"' and _is_integer(inner) and _DIGITS.fullmatch(text := _decoder(str).decode(raw)):
        return _read(str(int(text)).encode(), kind, path)
    raise _refused(raw, reason, path.lstrip("."))


def _read_struct(raw: Any, kind: type[Struct], path: str) -> Struct:
    fields = _fields(kind)
    known: dict[str, Any] = {}
    for key, part in _parts(raw).items():
        found = fields.get(key.lower())
        if found is None:
            place = f" in {path.lstrip('.')}" if path else ""
            raise InvalidJobError(f"parsing request body failed: unknown field {key!r}{place}")
        name, shown, field_kind = found
        known.pop(name, None)  # of a key that comes twice in different case, the last wins
        if field_kind != Ignored and bytes(memoryview(part)[:5]) != b"null":
            known[name] = _read(part, field_kind, f"{path}.{shown}")
    return kind(**known)


def _parts(raw: Any) -> dict[str, Raw]:
    """Return the members of a JSON object, their values as they came, without copying them."""
    parts: dict[str, Raw] = _decoder(dict[str, Raw]).decode(raw)
    return parts


@cache
def _fields(kind: type[Struct]) -> dict[str, tuple[str, str, Any]]:
    """Return the name, the key and the type of each field by its key in lower case."""
    fields = msgspec.structs.fields(kind)
    return {field.encode_name.lower(): (field.name, field.encode_name, field.type) for field in fields}


def _without_none(kind: Any) -> Any:
    parts = [part for part in get_args(kind) if part is not type(None)]
    return parts[0] if parts and type(None) in get_args(kind) else kind


def _is_integer(kind: Any) -> bool:
    return kind is int or (get_args(kind)[:1] == (int,) and get_origin(kind) is not list)


def _refused(raw: Any, reason: str, field: str) -> InvalidJobError:
    """Return the refusal of a value, from msgspec's reason and the beginning of the value."""
    expectation = re.sub(r", got .*$", "", _PLACE.sub("", reason)).replace("`", "").replace(" | null", "")
    expectation = expectation[:1].lower() + expectation[1:]
    if expectation.endswith(f"<= {LATEST_TIME}"):
        expectation = TOO_LATE
    elif expectation == "integer value out of range":
        expectation = "expected an integer of 64 bits"
    value = bytes(memoryview(raw)[: 4 * _SHOWN]).decode("utf-8", "ignore").strip()
    value = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…"
    if not field:
        return InvalidJobError(f"parsing request body failed: {expectation}, got {value}")
    return InvalidJobError(f"field '{field}': {expectation}, got {value}")


def _article(message: Any) -> str:
    return "a JSON array" if get_origin(message) is list else "a JSON object"
