"""Counters in memory that all processes of a server share, so that each of them can tell the sums.

The process that starts the others (gunicorn's master) makes the memory, which has no name and no file, and they inherit
it. Each process counts in a slot of its own, without locks among processes, and holds the slot by a lock that the
kernel drops when the process ends, however it ends. Its successor goes on counting in the same slot, so that sums never
go down. A process that nobody made the memory for counts alone.
"""

import fcntl
import mmap
import os
from collections.abc import Iterator
from threading import Lock
from typing import Any

VALUES = 16
"""Numbers of a record: counts, and a sum at the end."""

_SLOTS, _RECORDS = 2048, 400  # processes, and records of each; memory is used only where something was counted
_KEY = 64  # bytes
_WIDTH = VALUES + _KEY // 8  # in doubles, like all lengths below
_SLOT = 1 + _RECORDS * _WIDTH  # the number of records comes first
_OTHERS = "other"  # the key of the last record, for all keys that have no place any more


class SharedCounts:
    """Records of VALUES numbers each, by a text."""

    def __init__(self) -> None:
        """Make the memory; call it before other processes are started."""
        self._file = os.memfd_create("ccbackend-counts")
        size = 8 * (_SLOTS + _SLOTS * _SLOT)  # first a mark for each slot that was ever used
        os.ftruncate(self._file, size)
        self._bytes = memoryview(mmap.mmap(self._file, size))
        self._numbers: Any = self._bytes.cast("d")  # for typeshed a view of integers, in some releases
        self._maker = os.getpid()
        self.forget()
        os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Claim another slot at the next count; for a new process."""
        self._lock = Lock()
        self._begin = -1
        self._places: dict[str, int] = {}

    @property
    def is_shared(self) -> bool:
        """Return whether another process made the memory, so that its other children count there too."""
        return self._maker != os.getpid()

    def add(self, key: str, index: int, amount: float) -> None:
        """Add one to a value of a record, by its index, and an amount to the last value."""
        with self._lock:
            place = self._places.get(key) or self._place_of(key)
            self._numbers[place + index] += 1
            self._numbers[place + VALUES - 1] += amount

    def totals(self) -> dict[str, list[float]]:
        """Return the sums over all processes, those that ended too."""
        sums: dict[str, list[float]] = {}
        for slot in (slot for slot, mark in enumerate(self._numbers[:_SLOTS]) if mark):
            for key, values in self._records(_SLOTS + slot * _SLOT):
                known = sums.get(key)
                sums[key] = values if known is None else [a + b for a, b in zip(known, values, strict=True)]
        return sums

    def _records(self, begin: int) -> Iterator[tuple[str, list[float]]]:
        for number in range(int(self._numbers[begin])):
            start = begin + 1 + number * _WIDTH
            key = bytes(self._bytes[8 * start : 8 * start + _KEY]).rstrip(b"\0").decode(errors="replace")
            values = start + _KEY // 8
            yield key, self._numbers[values : values + VALUES].tolist()

    def _place_of(self, key: str) -> int:
        """Return where the values of a record begin in the slot of this process."""
        if self._begin < 0:
            self._claim()
        used = int(self._numbers[self._begin])
        if used == _RECORDS - 1:
            key = _OTHERS
        if used < _RECORDS and key not in self._places:
            start = self._begin + 1 + used * _WIDTH
            self._bytes[8 * start : 8 * start + _KEY] = key.encode()[:_KEY].ljust(_KEY, b"\0")
            self._numbers[self._begin] = used + 1
            self._places[key] = start + _KEY // 8
        return self._places.get(key, self._begin + 1 + (_RECORDS - 1) * _WIDTH + _KEY // 8)

    def _claim(self) -> None:
        """Take the first slot that no living process has; the last one if all are taken."""
        for slot in range(_SLOTS):
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
            except OSError:
                continue
            break
        self._numbers[slot] = 1
        self._begin = _SLOTS + slot * _SLOT
        for number, (key, _) in enumerate(self._records(self._begin)):
            self._places[key] = self._begin + 1 + number * _WIDTH + _KEY // 8


requests = SharedCounts()
"""Those of the requests of a server; gunicorn.conf.py imports this module before there are other processes."""
