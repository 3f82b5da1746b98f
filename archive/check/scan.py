"""Samples straight from the text of a data.json to their statistics: compiled by numba, no Python object for any.

Parsers of JSON take longer for the samples than isal takes to unpack them, most of it for the processor's wrong guesses
of how long the next number is. Here the common number, of up to seven characters and a comma, is read from eight bytes
at once without a guess. The functions know a third answer beside right and wrong: "not sure", for all that is not
plainly well-formed, which is for msgspec to decide.

Places are addresses in memory, of type int64: for arrays that are handed from function to function numba counts
references at each call, which takes as long as the numbers. All of it stands in one file: numba's cache asks
for the age of that of the called function alone.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types, uint64
from numba.core import cgutils
from numba.cpython.unsafe.numbers import trailing_zeros
from numba.extending import intrinsic

_F = TypeVar("_F", bound=Callable[..., Any])

NOT_SURE, TOO_SMALL = -1, -2

# Characters; `ord` in compiled code makes a text first.
_TAB, _LINE, _RETURN, _SPACE, _PLUS, _COMMA, _MINUS, _DOT, _ZERO, _NINE, _COLON, _OPENS, _CLOSES = b"\t\n\r +,-.09:[]"
_BEGINS, _ENDS, _QUOTE, _BACKSLASH, _TILDE = b'{}"\\~'
_C, _E, _L, _N, _S, _U = b"celnsu"
_ZEROS = 0x3030303030303030
_BRACKETS = 0x5B5B5B5B5B5B5B5B
_SPACES = 0x2020202020202020
_COMMAS = 0x2C2C2C2C2C2C2C2C
_ONES = 0x0101010101010101
_TOPS = 0x8080808080808080
_NO_DIGIT = 0x7676767676767676  # added to 0 to 9 it leaves the top bit clear
_POWERS = 10.0 ** np.arange(23)  # those that a float holds exactly
_WHOLE_POWERS = 10 ** np.arange(9, dtype=np.uint64)
_LIMITS = np.uint64(10**19) // _WHOLE_POWERS  # below these, so many digits can be appended within 64 bits
_MOST_EXPONENT = 99


def _words(*texts: str) -> npt.NDArray[np.uint64]:
    """Return texts of up to eight characters, each as the end of eight bytes."""
    return np.array([int.from_bytes(text.encode().rjust(8, b"\0"), "little") for text in texts], dtype=np.uint64)


# The keys of lists with their quotes, and how many bits of eight bytes stand before each.
_SERIES, MIN_OF, MEAN_OF, MAX_OF = range(4)
_BITS_BEFORE = np.array([0, 24, 16, 24], dtype=np.uint64)
_KEYS_OF_LISTS = _words('"series"', '"min"', '"mean"', '"max"') >> _BITS_BEFORE
# The keys of a series and of its statistics, and how far eight bytes are shifted so that each stands at their end.
_HOSTNAME, _ID, _STATISTICS, _DATA, _MIN, _AVG, _MAX = range(7)
_NEEDED = 1 << _HOSTNAME | 1 << _DATA
_LENGTHS = np.array([8, 2, 10, 4, 3, 3, 3], dtype=np.int64)
_SHIFTS = np.array([0, 48, 0, 32, 40, 40, 40], dtype=np.uint64)
_KEYS_OF_SERIES = _words("hostname", "id", "statisti", "data", "min", "avg", "max")


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


def _part(function: _F) -> _F:
    """Let numba compile a function as a part of `scan_into`."""
    compiled: Any = numba.njit(error_model="numpy")(function)
    return compiled  # type: ignore[no-any-return]


@_compiled
def scan_into(
    begin: int,
    end: int,
    rest: Any,
    lists: Any,
    overall: Any,
    steps: Any,
    samples: Any,
    places: Any,
    measured: Any,
    stored: Any,
    hosts: Any,
) -> tuple[int, int, int, int, int]:
    """Take the document in memory from `begin` to `end` apart, as measuring.Scan describes it; fill the arrays.

    Returns how much is filled of `rest`, of `lists` and `overall`, of `steps`, of the four with a place per series,
    and of `hosts`; as the first number NOT_SURE or TOO_SMALL, where an array is.
    """
    left = list_number = step_number = number = host_number = host = 0
    target = rest.ctypes.data
    place = copied = begin
    while place < end - 8:
        bracket = place + _before(_eight_bytes(place), _BRACKETS)
        found = _key_before(bracket, begin) if bracket < place + 8 else -1
        if found < 0:
            place = min(place + 8, bracket + 1)
            continue
        if left + bracket + 1 - copied > rest.size or max(list_number, step_number) == samples.size:
            return TOO_SMALL, 0, 0, 0, 0
        _copy(target + left, copied, bracket + 1 - copied)
        left += bracket + 1 - copied
        if found != _SERIES:
            place, size, _, _, _, _ = _array(bracket + 1, end)
            if place == 0:
                return NOT_SURE, 0, 0, 0, 0
            steps[0, step_number], steps[1, step_number] = found, size
            step_number += 1
            copied = place
            continue
        first, listed = number, 0
        lowest, sum_of_averages, highest = np.inf, 0.0, -np.inf
        place = _after_space(bracket + 1, end)
        closed = place < end and _byte(place) == _CLOSES
        while not closed:
            after, host_begin, host_end, size, present, least, total, greatest, low, middle, high = _series(place, end)
            if after == 0:
                return NOT_SURE, 0, 0, 0, 0
            if number == samples.size:
                return TOO_SMALL, 0, 0, 0, 0
            samples[number] = size
            places[0, number], places[1, number] = place - begin, after - begin
            measured[:, number] = np.nan
            if present:
                measured[0, number], measured[1, number], measured[2, number] = least, total / present, greatest
                listed += 1
                lowest, highest = min(lowest, least), max(highest, greatest)
                sum_of_averages += total / present
            stored[0, number], stored[1, number], stored[2, number] = low, middle, high
            number += 1
            # Mostly it is the host of the series before, or the one that followed it the last time.
            tries = 0
            while tries <= host_number:
                if host == host_number:
                    host = 0
                if host_number and _is_same(begin + hosts[0, host], begin + hosts[1, host], host_begin, host_end):
                    break
                host += 1
                tries += 1
            if tries > host_number:
                host = host_number
                hosts[0, host], hosts[1, host] = host_begin - begin, host_end - begin
                host_number += 1
            place = _after_space(after, end)
            closed = place < end and _byte(place) == _CLOSES
            if place == end or not (closed or _byte(place) == _COMMA):
                return NOT_SURE, 0, 0, 0, 0
            if not closed:
                place = _after_space(place + 1, end)
        lists[list_number] = number - first
        overall[:, list_number] = np.nan
        if listed:
            overall[0, list_number], overall[2, list_number] = lowest, highest
            overall[1, list_number] = sum_of_averages / listed
        list_number += 1
        copied = place
    if left + end - copied > rest.size:
        return TOO_SMALL, 0, 0, 0, 0
    _copy(target + left, copied, end - copied)
    return left + end - copied, list_number, step_number, number, host_number


@_part
def _series(place: int, end: int) -> tuple[int, int, int, int, int, float, float, float, float, float, float]:
    """Read the object of a series, its keys in any order, each once.

    Returns the place after it, 0 where not sure, where the text of its hostname begins and ends, what `_array` says of
    its samples, and the three statistics that it carries.
    """
    host_begin = host_end = size = present = 0
    least = total = greatest = low = middle = high = np.nan
    seen = after = 0
    if place < end and _byte(place) == _BEGINS:
        while True:
            key, place = _key(_after_space(place + 1, end), end)
            if place == 0 or seen & (1 << key):
                break
            seen |= 1 << key
            if key == _DATA and _byte(place) == _OPENS:
                place, size, present, least, total, greatest = _array(place + 1, end)
            elif key == _HOSTNAME:
                host_begin = place + 1
                host_end = place = _text(place, end)
            elif key == _ID:
                place = _text(place, end)
            elif key == _STATISTICS:
                place, low, middle, high = _stored_statistics(place, end)
            else:
                break
            if place == 0:
                break
            place = _after_space(place + 1, end)
            if place < end and _byte(place) == _ENDS and seen & _NEEDED == _NEEDED:
                after = place + 1
                break
            if place == end or _byte(place) != _COMMA:
                break
    return after, host_begin, host_end, size, present, least, total, greatest, low, middle, high


@_part
def _stored_statistics(place: int, end: int) -> tuple[int, float, float, float]:
    """Read an object of min, avg and max; return the place of its end, 0 where not sure, and the three."""
    low = middle = high = np.nan
    seen = 0
    if _byte(place) != _BEGINS:
        return 0, low, middle, high
    while True:
        key, place = _key(_after_space(place + 1, end), end)
        if place == 0 or key < _MIN or seen & (1 << key):
            return 0, low, middle, high
        seen |= 1 << key
        value, place = _number(place, end)
        if place == 0:
            return 0, low, middle, high
        if key == _MIN:
            low = value
        elif key == _AVG:
            middle = value
        else:
            high = value
        place = _after_space(place, end)
        if place < end and _byte(place) == _ENDS:
            return place, low, middle, high
        if place == end or _byte(place) != _COMMA:
            return 0, low, middle, high


@_part
def _key(place: int, end: int) -> tuple[int, int]:
    """Read a key and its colon; return which it is and the place of its value, 0 where it is none of those known."""
    quote = _text(place, end)
    if quote == 0 or quote >= end - 8:
        return 0, 0
    length, text = quote - place - 1, _eight_bytes(place + 1)
    which = -1
    for number in range(len(_KEYS_OF_SERIES)):
        if length == _LENGTHS[number] and text << _SHIFTS[number] == _KEYS_OF_SERIES[number]:
            which = number
    if which == _STATISTICS and (_byte(quote - 2) != _C or _byte(quote - 1) != _S):
        which = -1
    place = _after_space(quote + 1, end)
    if which < 0 or place == end or _byte(place) != _COLON:
        return 0, 0
    place = _after_space(place + 1, end)
    return which, place if place < end else 0


@_part
def _text(place: int, end: int) -> int:
    """Return the place of the quote that ends a text of plain ASCII without escapes; 0 where not sure."""
    if place == end or _byte(place) != _QUOTE:
        return 0
    place += 1
    while place < end and _byte(place) != _QUOTE:
        if _byte(place) < _SPACE or _byte(place) > _TILDE or _byte(place) == _BACKSLASH:
            return 0
        place += 1
    return place if place < end else 0


@_part
def _is_same(begin: int, end: int, other: int, other_end: int) -> bool:
    """Tell whether the same stands at two places."""
    if end - begin != other_end - other:
        return False
    for step in range(end - begin):  # noqa: SIM110
        if _byte(begin + step) != _byte(other + step):
            return False
    return True


@_part
def _key_before(place: int, begin: int) -> int:
    """Return which list begins at a place: -1 where none of the four keys and a colon stand before it."""
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
    for number in range(len(_KEYS_OF_LISTS)):
        if text >> _BITS_BEFORE[number] == _KEYS_OF_LISTS[number]:
            return number
    return -1


@_part
def _before(text: Any, wanted: int) -> Any:
    """Return how many of eight characters stand before the first that is the wanted one, given eight times."""
    other = text ^ uint64(wanted)
    return _signed(_zeros_below((other - uint64(_ONES)) & ~other & uint64(_TOPS)) >> uint64(3))


@_part
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
    spaced = False  # which is a matter of the writer: mostly all of a file's numbers are, or none
    while True:
        value, width = np.nan, 0
        if spaced:
            place = _after_space(place, end)
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
            spaced = spaced or (place < end and _is_space(_byte(place)))
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


@_part
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


@_part
def _value_of(digits: Any) -> Any:
    """Return the number that eight decimal digits are, the first of them in the lowest byte."""
    pairs = (digits * uint64(10) + (digits >> uint64(8))) & uint64(0x00FF00FF00FF00FF)
    fours = (pairs * uint64(100) + (pairs >> uint64(16))) & uint64(0x0000FFFF0000FFFF)
    return (fours * uint64(10_000) + (fours >> uint64(32))) & uint64(0xFFFFFFFF)


@_part
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


@_part
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


@_part
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


@_part
def _exponent(place: int, end: int) -> tuple[int, int]:
    """Read what stands behind the `e` of a number, up to 99; return it and the place after it, 0 where not sure."""
    negative = place < end and _byte(place) == _MINUS
    if place < end and (_byte(place) == _PLUS or negative):
        place += 1
    power, after = _digits(place, end, uint64(0))
    if after <= place or power > _MOST_EXPONENT:
        return 0, 0
    return -_signed(power) if negative else _signed(power), after


@_part
def _after_space(place: int, end: int) -> int:
    """Return the first place from this one on that is no white space."""
    while place < end and _is_space(_byte(place)):
        place += 1
        # Indented files are mostly spaces: eight at a time. The rest is counted one by one, since the processor goes on
        # with its guess of how many there are, which is mostly right.
        while place < end - 8 and _eight_bytes(place) == uint64(_SPACES):
            place += 8
    return place


@_part
def _is_space(character: int) -> bool:
    return character in (_SPACE, _RETURN) or _TAB <= character <= _LINE
