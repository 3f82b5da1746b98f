"""ccbackend.fastpath.shared: what several processes count is summed, and kept when they end."""

import os
import signal
from collections.abc import Callable

import pytest

from ccbackend.fastpath import shared
from ccbackend.fastpath.shared import VALUES, SharedCounts


def in_a_child(work: Callable[[], object], *, killed: bool = False) -> None:
    """Do something in a process that was forked from this one, and wait for its end."""
    child = os.fork()
    if child == 0:
        try:
            work()
            if killed:
                os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def total(counts: SharedCounts, key: str) -> tuple[float, float]:
    """Return how often a record was counted, and its sum."""
    values = counts.totals().get(key, [0.0] * VALUES)
    return sum(values[:-1]), values[-1]


def test_each_value_is_counted_by_its_index() -> None:
    counts = SharedCounts()
    counts.add("a", 0, 0.5)
    counts.add("a", 0, 0.25)
    counts.add("a", 3, 2)
    counts.add("ü" * 100, 1, 1)
    assert counts.totals()["a"] == [2, 0, 0, 1, *[0] * (VALUES - 5), 2.75]
    assert len(counts.totals()) == 2
    assert not counts.is_shared


@pytest.mark.parametrize("killed", [False, True])
def test_counts_of_ended_processes_stay_and_their_slots_are_used_again(killed: bool) -> None:
    counts = SharedCounts()
    counts.add("a", 0, 1)
    for _ in range(5):
        in_a_child(lambda: counts.add("a", 0, 1), killed=killed)
        in_a_child(lambda: counts.add("b", 0, 1) if counts.is_shared else None, killed=killed)
    assert total(counts, "a") == (6, 6)
    assert total(counts, "b") == (5, 5)
    marks = counts._numbers[: shared._SLOTS].tolist()
    assert marks[:3] == [1, 1, 0], "one of this process, one that the children had one after the other"


def test_what_has_no_place_is_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_RECORDS", 3)
    counts = SharedCounts()
    for number in range(10):
        counts.add(str(number), 0, 1)
    assert {key: values[-1] for key, values in counts.totals().items()} == {"0": 1, "1": 1, "other": 8}


def test_a_process_beyond_the_last_slot_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_SLOTS", 1)
    counts = SharedCounts()
    counts.add("a", 0, 1)
    in_a_child(lambda: counts.add("a", 0, 1))
    assert total(counts, "a") == (2, 2)
