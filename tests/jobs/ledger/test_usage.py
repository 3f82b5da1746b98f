"""What one job adds to usage."""

from hypothesis import given, settings
from hypothesis import strategies as some

from jobs.ledger.usage import DAY, LONGEST, Amounts, Kind, Share, amounts, sums

KIND = Kind("alex", "a40", "gpu", "bio", "alice", "completed")
NOON = 20_000 * DAY + DAY // 2


def share(**values: int) -> Share:
    """Return the share of a job of 2 nodes and 8 cores that starts at noon and runs for an hour."""
    plain = {"start_time": NOON, "duration": 3600, "num_nodes": 2, "cores": 8, "accelerators": 0}
    plain |= {"waiting": 60, "power": 500_000}
    return Share(KIND, **plain | values)


def test_seconds_are_split_at_midnight_and_the_job_counts_on_the_day_of_its_end() -> None:
    days = dict(amounts(share(duration=DAY)))
    assert days[20_000] == Amounts(1, 0, 0, 0, DAY, 4 * DAY, 0, DAY // 2 * 500)
    assert days[20_001] == Amounts(0, 1, 1, 60, DAY, 4 * DAY, 0, DAY // 2 * 500)


def test_a_job_that_ends_at_midnight_counts_on_the_day_that_begins() -> None:
    days = dict(amounts(share(duration=DAY // 2)))
    assert (days[20_000].jobs, days[20_000].node_seconds) == (0, DAY)
    assert (days[20_001].jobs, days[20_001].node_seconds) == (1, 0)


def test_a_job_without_duration_counts_and_uses_nothing() -> None:
    assert dict(amounts(share(duration=0))) == {20_000: Amounts(1, 1, 1, 60, 0, 0, 0, 0)}


def test_an_unknown_wait_is_not_counted() -> None:
    (_, found), *_ = amounts(share(waiting=0))
    assert (found.jobs, found.waited, found.waiting_seconds) == (1, 0, 0)


def test_an_impossible_duration_fills_no_thousands_of_days() -> None:
    days = dict(amounts(share(start_time=1, duration=2**62)))
    assert len(days) == LONGEST // DAY + 1


@settings(max_examples=50, deadline=None)
@given(
    some.integers(1, 2**40),
    some.integers(0, 40 * DAY),
    some.integers(0, 10**10),
)
def test_the_days_of_a_job_add_up_to_the_job(start: int, duration: int, power: int) -> None:
    one = share(start_time=start, duration=duration, power=power)
    total = [sum(numbers) for numbers in zip(*(of_day for _, of_day in amounts(one)), strict=True)]
    assert total == [1, 1, 1, 60, 2 * duration, 8 * duration, 0, power * duration // 1000]
    assert sums([one], [one]) == {}
