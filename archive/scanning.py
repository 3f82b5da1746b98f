"""Samples straight from the text of a data.json to their statistics: compiled by numba, no Python object for any.

Parsers of JSON take longer for the samples than isal takes to unpack them, most of it for the processor's wrong guesses
of how long the next number is. Here the common number, of up to seven characters and a comma, is read from eight bytes
at once without a guess. The functions know a third answer beside right and wrong: "not sure", for all that is not
plainly well-formed, which is for msgspec to decide.

Places are addresses in memory, of type int64: for arrays that are handed from function to function numba counts
references at each call, which takes as long as the numbers.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types, uint64
from numba.core import cgutils
from numba.cpython.unsafe.numbers import trailing_zeros
from numba.extending import intrinsic

from archive.statistics import Samples

_F = TypeVar("_F", bound=Callable[..., Any])

_ARRAY = 64  # bytes that belong to one at least, on the average; else the document goes the long way

# Characters; `ord` in compiled code makes a text first.
_TAB, _LINE, _RETURN, _SPACE, _PLUS, _COMMA, _MINUS, _DOT, _ZERO, _NINE, _COLON, _OPENS, _CLOSES = b"\t\n\r +,-.09:[]"
_E, _L, _N, _U = b"elnu"
_ZEROS = 0x3030303030303030
_BRACKETS = 0x5B5B5B5B5B5B5B5B
_COMMAS = 0x2C2C2C2C2C2C2C2C
_ONES = 0x0101010101010101
_TOPS = 0x8080808080808080
_NO_DIGIT = 0x7676767676767676  # added to 0 to 9 it leaves the top bit clear
_POWERS = 10.0 ** np.arange(23)  # those that a float holds exactly
_WHOLE_POWERS = 10 ** np.arange(9, dtype=np.uint64)
_LIMITS = np.uint64(10**19) // _WHOLE_POWERS  # below these, so many digits can be appended within 64 bits
_MOST_EXPONENT = 99


class Scan(NamedTuple):
    """A document without what stands between the brackets after the keys `data`, `min`, `mean` and `max`.

    Of each of these arrays, in the order of the document: which key (a place in KEYS), how many elements, and the
    statistics of the numbers among them, NaN where none is.
    """

    rest: bytes
    key: npt.NDArray[np.uint8]
    length: npt.NDArray[np.int64]
    min: Samples
    avg: Samples
    max: Samples


KEYS = ("data", "min", "mean", "max")


# Each as the last of eight bytes: how many bits stand before it, and itself.
_KEYS = tuple((np.uint64(48 - 8 * len(key)), np.uint64(int.from_bytes(f'"{key}"'.encode(), "little"))) for key in KEYS)


def scan(raw: bytes) -> Scan | None:
    """Cut the numbers out of a data.json; None where that is not sure."""
    rest = np.empty(len(raw), dtype=np.uint8)
    most = len(raw) // _ARRAY + 1
    key, length = np.empty(most, dtype=np.uint8), np.empty(most, dtype=np.int64)
    lowest, average, highest = np.empty(most), np.empty(most), np.empty(most)
    begin = _place(np.frombuffer(raw, dtype=np.uint8))
    number, left = _scan(begin, begin + len(raw), _place(rest), key, length, lowest, average, highest)
    if number < 0:
        return None
    own = slice(number)
    return Scan(rest[:left].tobytes(), key[own], length[own], lowest[own], average[own], highest[own])


def prepare() -> None:
    """Have everything compiled, for processes that are made from this one; also done by the first `scan`."""
    scan(b"{}")


def _place(array: npt.NDArray[np.uint8]) -> int:
    """Return where an array lies in memory; its attribute `ctypes` takes longer."""
    place: int = array.__array_interface__["data"][0]
    return place


def _compiled(function: _F) -> _F:
    """Let numba compile a function at its first call, and keep that for other processes where it finds a place."""
    try:
        compiled: Any = numba.njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # no folder that it may write to
        compiled = numba.njit(error_model="numpy")(function)
    return compiled  # type: ignore[no-any-return]


def _load(bits: int) -> Any:
    """Return what reads so many bits at a place, in compiled code."""

    def load(context: Any, place: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointer = builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer())
            return builder.load(pointer, align=1)

        return getattr(types, f"uint{bits}")(types.int64), generate

    return intrinsic(load)


def _copying(context: Any, target: Any, source: Any, size: Any) -> Any:
    """Copy so many bytes to one place from another, in compiled code."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, source = (builder.inttoptr(place, ir.IntType(8).as_pointer()) for place in arguments[:2])
        cgutils.raw_memcpy(builder, target, source, arguments[2], 1)  # type: ignore[no-untyped-call]

    return types.void(types.int64, types.int64, types.int64), generate


# Known to mypy by these names alone: it takes what is called in compiled code for calls of Python.
_signed: Any = np.int64
_zeros_below: Any = trailing_zeros
_byte: Any = _load(8)
_eight_bytes: Any = _load(64)
_copy: Any = intrinsic(_copying)


@_compiled
def _scan(
    begin: int, end: int, rest: int, key: Any, length: Any, lowest: Any, average: Any, highest: Any
) -> tuple[int, int]:
    """Fill the arrays; return how many were cut out, less than 0 where not sure, and how long the rest is."""
    number = left = 0
    place = copied = begin
    while place < end - 8:
        bracket = place + _before(_eight_bytes(place), _BRACKETS)
        found = _key_before(bracket, begin) if bracket < place + 8 else -1
        if found < 0:
            place = min(place + 8, bracket + 1)
            continue
        _copy(rest + left, copied, bracket + 1 - copied)
        left += bracket + 1 - copied
        place, size, present, least, total, greatest = _array(bracket + 1, end)
        if place == 0 or number == length.size:
            return -1, 0
        key[number] = found
        length[number] = size
        lowest[number] = least if present else np.nan
        average[number] = total / present
        highest[number] = greatest if present else np.nan
        number += 1
        copied = place
    _copy(rest + left, copied, end - copied)
    return number, left + end - copied


@_compiled
def _key_before(place: int, begin: int) -> int:
    """Return which key of KEYS and a colon stand before a place, with any white space; less than 0 where none does."""
    place -= 1
    while place > begin and _is_space(_byte(place)):
        place -= 1
    if place <= begin or _byte(place) != _COLON:
        return -1
    place -= 1
    while place > begin and _is_space(_byte(place)):
        place -= 1
    if place < begin + 7:
        return -1
    text = _eight_bytes(place - 7)
    for number in range(len(_KEYS)):
        if text >> _KEYS[number][0] == _KEYS[number][1]:
            return number
    return -1


@_compiled
def _before(text: Any, wanted: int) -> Any:
    """Return how many of eight characters stand before the first that is the wanted one, given eight times."""
    other = text ^ uint64(wanted)
    return _signed(_zeros_below((other - uint64(_ONES)) & ~other & uint64(_TOPS)) >> uint64(3))


@_compiled
def _array(place: int, end: int) -> tuple[int, int, int, float, float, float]:
    """Read the elements of an array from behind its bracket.

    Returns the place of the closing bracket, 0 where not sure, how many elements there are and how many of them are
    numbers, the least number, the sum, and the greatest.
    """
    size = present = 0
    total, least, greatest = 0.0, np.inf, -np.inf
    place = _after_space(place, end)
    if place < end and _byte(place) == _CLOSES:
        return place, size, present, least, total, greatest
    while True:
        value, width = np.nan, 0
        if place < end - 8:
            text = _eight_bytes(place)
            # Where the next number begins is found by the comma alone, while this one is still being read.
            width = _before(text, _COMMAS)
            value, length = _short_number(text)
            if length != width:
                width = 0
        if width:
            place += width
        else:
            value, place = _element(_after_space(place, end), end)
            if place == 0:
                return 0, size, present, least, total, greatest
        size += 1
        if value == value:
            present += 1
            total += value
            least = min(least, value)
            greatest = max(greatest, value)
        if width == 0 and _byte(place) == _CLOSES:
            return place, size, present, least, total, greatest
        place += 1


@_compiled
def _short_number(text: Any) -> tuple[float, int]:
    """Return the number, without sign and exponent, that eight characters begin with, and its length.

    A length of 9 where there is none that ends among them.
    """
    digits = text ^ uint64(_ZEROS)
    others = ((digits + uint64(_NO_DIGIT)) | digits) & uint64(_TOPS)
    whole = _zeros_below(others) >> uint64(3)
    length, decimals = whole, uint64(0)
    if whole == 0 or whole == 8 or (whole > 1 and digits & uint64(0xFF) == 0):
        return 0.0, 9
    if (text >> (whole << uint64(3))) & uint64(0xFF) == _DOT:
        length = _zeros_below(others & (others - uint64(1))) >> uint64(3)
        decimals = length - whole - uint64(1)
        if length == 8 or decimals == 0:
            return 0.0, 9
        before = (uint64(1) << (whole << uint64(3))) - uint64(1)
        digits = (digits & before) | ((digits >> uint64(8)) & ~before)
        digits <<= (uint64(9) - length) << uint64(3)
    else:
        digits <<= (uint64(8) - length) << uint64(3)
    return np.float64(_value_of(digits)) / _POWERS[decimals], _signed(length)


@_compiled
def _value_of(digits: Any) -> Any:
    """Return the number that eight decimal digits are, the first of them in the lowest byte."""
    pairs = (digits * uint64(10) + (digits >> uint64(8))) & uint64(0x00FF00FF00FF00FF)
    fours = (pairs * uint64(100) + (pairs >> uint64(16))) & uint64(0x0000FFFF0000FFFF)
    return (fours * uint64(10_000) + (fours >> uint64(32))) & uint64(0xFFFFFFFF)


@_compiled
def _element(place: int, end: int) -> tuple[float, int]:
    """Read any element of an array; return it, NaN for null, and the place of the comma or bracket after it.

    The place is 0 where not sure.
    """
    if place < end - 4 and _byte(place) == _N:
        if _byte(place + 1) != _U or _byte(place + 2) != _L or _byte(place + 3) != _L:
            return np.nan, 0
        value, place = np.nan, place + 4
    else:
        value, place = _number(place, end)
        if place == 0:
            return np.nan, 0
    place = _after_space(place, end)
    if place < end and (_byte(place) == _COMMA or _byte(place) == _CLOSES):
        return value, place
    return np.nan, 0


@_compiled
def _number(place: int, end: int) -> tuple[float, int]:
    """Read a JSON number; return it and the place after it, 0 where that is none or has more digits than are sure."""
    negative = place < end and _byte(place) == _MINUS
    begin = place + 1 if negative else place
    value, place = _digits(begin, end, uint64(0))
    if place <= begin or (place > begin + 1 and _byte(begin) == _ZERO):
        return 0.0, 0
    exponent = 0
    if place < end and _byte(place) == _DOT:
        begin = place + 1
        value, place = _digits(begin, end, value)
        if place <= begin:
            return 0.0, 0
        exponent = begin - place
    if place < end and (_byte(place) | 0x20) == _E:
        power, place = _exponent(place + 1, end)
        if place == 0:
            return 0.0, 0
        exponent += power
    number = np.float64(value)
    if exponent < 0:
        number = number / _POWERS[-exponent] if exponent > -23 else number * 10.0**exponent
    elif exponent > 0:
        number = number * _POWERS[exponent] if exponent < 23 else number * 10.0**exponent
    return -number if negative else number, place


@_compiled
def _digits(place: int, end: int, value: Any) -> tuple[Any, int]:
    """Append decimal digits to a value; return it and the place after them, 0 where they are too many for 64 bits."""
    while place < end:
        number = uint64(1)
        if place < end - 8:
            digits = _eight_bytes(place) ^ uint64(_ZEROS)
            number = _zeros_below(((digits + uint64(_NO_DIGIT)) | digits) & uint64(_TOPS)) >> uint64(3)
            digits = _value_of(digits << ((uint64(8) - number) << uint64(3))) if number else uint64(0)
        else:
            digits = uint64(_byte(place)) ^ uint64(_ZERO)
            number = uint64(digits <= 9)
        if number == 0:
            break
        if value >= _LIMITS[number]:
            return value, 0
        value = value * _WHOLE_POWERS[number] + digits
        place += _signed(number)
    return value, place


@_compiled
def _exponent(place: int, end: int) -> tuple[int, int]:
    """Read what stands behind the `e` of a number, up to 99; return it and the place after it, 0 where not sure."""
    negative = place < end and _byte(place) == _MINUS
    if place < end and (_byte(place) == _PLUS or negative):
        place += 1
    power, after = _digits(place, end, uint64(0))
    if after <= place or power > _MOST_EXPONENT:
        return 0, 0
    return -_signed(power) if negative else _signed(power), after


@_compiled
def _after_space(place: int, end: int) -> int:
    """Return the first place from this one on that is no white space."""
    while place < end and _is_space(_byte(place)):
        place += 1
    return place


@_compiled
def _is_space(character: int) -> bool:
    return character in (_SPACE, _RETURN) or _TAB <= character <= _LINE
