"""The addresses that send bad tokens again and again: their refusals are delayed, other calls from there are not.

Each process counts for itself.
"""

import time

MOST = 10
"""Bad tokens of an address within WINDOW seconds whose refusals are sent at once."""

WINDOW = 60.0

DELAY = 1
"""Seconds by which later refusals are delayed; ccbackend.fastpath.guarded does that without a thread that waits."""

_MOST_ADDRESSES = 10_000

_counts: dict[str, tuple[float, int]] = {}  # when the window began, and how many since


def note(address: str) -> bool:
    """Count a bad token from an address; return whether the refusal should be delayed."""
    now = time.monotonic()
    begin, count = _counts.get(address, (now, 0))
    if begin < now - WINDOW:
        begin, count = now, 0
    if len(_counts) >= _MOST_ADDRESSES:
        _counts.clear()
    _counts[address] = begin, count + 1
    return count >= MOST


def forget() -> None:
    """Forget all."""
    _counts.clear()
