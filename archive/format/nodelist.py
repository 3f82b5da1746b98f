"""Node lists of cluster.json, such as `n[01-16,20-22],login1`, without expanding their ranges."""

import bisect
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from archive.exceptions import DocumentError

MAX_EXPANSION = 100_000
"""Limit of the names that all brackets of an item but the last expand to; more is probably a typo."""

_ITEM = re.compile(r"(?:[^,\[\]]|\[[^\[\]]*\])*")
_LITERAL = re.compile(r"[A-Za-z0-9_.-]*")
_RANGE = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")


class NumberRange(NamedTuple):
    """The numbers from `start` to `end` inclusive, zero-padded to `width` digits."""

    start: int
    end: int
    width: int

    def texts(self) -> Iterator[str]:
        """Yield the numbers as host names contain them."""
        return (str(number).zfill(self.width) for number in range(self.start, self.end + 1))

    def __str__(self) -> str:
        """Return `07` or `01-16`."""
        first, last = (str(number).zfill(self.width) for number in (self.start, self.end))
        return first if self.start == self.end else f"{first}-{last}"


class _Item(NamedTuple):
    """A host name (`prefix`), or a family of them: prefix, ranges in a bracket, suffix."""

    prefix: str
    ranges: tuple[NumberRange, ...]
    suffix: str

    def __str__(self) -> str:
        """Return the item in the syntax of node lists."""
        return f"{self.prefix}[{','.join(map(str, self.ranges))}]{self.suffix}" if self.ranges else self.prefix


class NodeList:
    """A set of host names; `in` takes a few dictionary look-ups, however long the ranges are."""

    def __init__(self, items: list[_Item], *, matches_all: bool) -> None:
        """Index the items; use `NodeList.parse`."""
        self.matches_all = matches_all
        self._items = items
        self._names = frozenset(item.prefix for item in items if not item.ranges)
        families: dict[tuple[str, str], dict[int, list[tuple[int, int]]]] = {}
        for item in items:
            for start, end, width in item.ranges:
                families.setdefault((item.prefix, item.suffix), {}).setdefault(width, []).append((start, end))
        self._families = {
            affixes: [(width, *_merged(ranges)) for width, ranges in widths.items()]
            for affixes, widths in families.items()
        }
        self._lengths = sorted({(len(prefix), len(suffix)) for prefix, suffix in families})

    @classmethod
    def parse(cls, text: str) -> "NodeList":
        """Parse a node list, in which items may be empty; raise DocumentError with the malformed item."""
        items: list[_Item] = []
        matches_all = False
        position = 0
        while position < len(text):
            match = _ITEM.match(text, position)
            if match is None or (match.end() < len(text) and text[match.end()] != ","):
                raise DocumentError(f"node list {text[:200]!r}: expected a name at position {position}")
            word = match.group().strip()
            if word == "*":
                matches_all = True
            elif word:
                items.extend(_parse_item(word))
            position = match.end() + 1
        return cls(items, matches_all=matches_all)

    def __contains__(self, host: object) -> bool:
        """Return whether the list contains this host."""
        return self.matches_all or (isinstance(host, str) and self.names(host))

    def names(self, host: str) -> bool:
        """Return whether the list contains this host not only by `*`."""
        if host in self._names:
            return True
        return any(self._in_family(host, before, after) for before, after in self._lengths)

    def __str__(self) -> str:
        """Return the list in the syntax of node lists; only the last bracket of an item is not expanded."""
        return ",".join([*(["*"] if self.matches_all else []), *map(str, self._items)])

    def hosts(self) -> Iterator[str]:
        """Return the hosts in the order of the list, each once; raise ValueError for `*`, which matches any host."""
        if self.matches_all:
            raise ValueError("a node list with * names every host: it cannot be listed")
        return _each_once(itertools.chain.from_iterable(_hosts_of(item) for item in self._items))

    def repeated(self, most: int) -> list[str]:
        """Return the hosts that are listed more than once, among the first `most`."""
        listed = itertools.chain.from_iterable(_hosts_of(item) for item in self._items)
        return [host for host, count in Counter(itertools.islice(listed, most)).items() if count > 1]

    def _in_family(self, host: str, before: int, after: int) -> bool:
        """Return whether a family with affixes of these lengths contains the host."""
        end = len(host) - after
        digits = host[before:end]
        if before >= end or len(digits) > 19 or not (digits.isascii() and digits.isdigit()):
            return False
        number = int(digits)
        for width, starts, ends in self._families.get((host[:before], host[end:]), ()):
            if len(digits) < width or (len(digits) > width and digits[0] == "0"):
                continue
            place = bisect.bisect_right(starts, number) - 1
            if place >= 0 and number <= ends[place]:
                return True
        return False


def _parse_item(word: str) -> list[_Item]:
    """Parse an item; expand all brackets but the last."""
    pieces = re.split(r"\[([^\[\]]*)\]", word)
    literals, groups = pieces[::2], pieces[1::2]
    if not word or not all(_LITERAL.fullmatch(literal) for literal in literals):
        raise DocumentError(f"node list item {word[:80]!r}: expected letters, digits, dashes and [01-16] ranges")
    ranges = [tuple(_parse_range(word, part) for part in _parts_of(group)) for group in groups]
    if not ranges:
        return [_Item(word, (), "")]
    count = 1
    for group in ranges[:-1]:
        count *= sum(part.end - part.start + 1 for part in group)
    if count > MAX_EXPANSION:
        raise DocumentError(f"node list item {word[:80]!r}: stands for too many hosts")
    choices = [[text for part in group for text in part.texts()] for group in ranges[:-1]]
    prefixes = (
        "".join(itertools.chain.from_iterable(zip(literals, chosen, strict=False))) + literals[-2]
        for chosen in itertools.product(*choices)
    )
    return [_Item(prefix, ranges[-1], literals[-1]) for prefix in prefixes]


def _parts_of(group: str) -> list[str]:
    """Return the ranges of a bracket without empty ones; at least one, for the error message."""
    return [part for part in group.split(",") if part.strip()] or [group]


def _parse_range(word: str, part: str) -> NumberRange:
    """Parse `07` or `01-16`."""
    match = _RANGE.fullmatch(part.strip())
    if match is None:
        raise DocumentError(f"node list item {word[:80]!r}: expected a range such as 01-16, found {part[:40]!r}")
    first, last = match.group(1), match.group(2) or match.group(1)
    if int(last) < int(first) or len(last) < len(first):
        raise DocumentError(f"node list item {word[:80]!r}: the range {part[:40]!r} ends before it starts")
    return NumberRange(int(first), int(last), len(first))


def _hosts_of(item: _Item) -> Iterator[str]:
    """Yield the hosts of one item."""
    if not item.ranges:
        yield item.prefix
    for part in item.ranges:
        for text in part.texts():
            yield f"{item.prefix}{text}{item.suffix}"


def _each_once(hosts: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for host in hosts:
        if host not in seen:
            seen.add(host)
            yield host


def _merged(ranges: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Return the sorted starts and ends of the ranges, after joining those that overlap."""
    starts: list[int] = []
    ends: list[int] = []
    for start, end in sorted(ranges):
        if ends and start <= ends[-1] + 1:
            ends[-1] = max(ends[-1], end)
        else:
            starts.append(start)
            ends.append(end)
    return starts, ends
