"""What a job adds to the usage of each day, and the sums of many. Nothing here reads the database.

All amounts are whole numbers, and what a job adds depends on nothing but a Share, so that it can be taken away again
exactly.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from jobs.text import LATEST_TIME

DAY = 86_400

LONGEST = 1000 * DAY
"""Seconds of a job that are booked: a longer one is a mistake, and would have a row for each of its days."""


class Kind(NamedTuple):
    """Whose usage it is, and of what."""

    cluster: str
    sub_cluster: str
    partition: str
    project: str
    user: str
    job_state: str


class Share(NamedTuple):
    """What one ended job adds to usage: times in seconds, power in milliwatts; `waiting` is 0 if it is unknown."""

    kind: Kind
    start_time: int
    duration: int
    num_nodes: int
    cores: int
    accelerators: int
    waiting: int
    power: int


class Amounts(NamedTuple):
    """The amounts of a row of Usage, in the order of its columns."""

    started: int = 0
    jobs: int = 0
    waited: int = 0
    waiting_seconds: int = 0
    node_seconds: int = 0
    core_seconds: int = 0
    acc_seconds: int = 0
    energy: int = 0


Sums = dict[tuple[int, Kind], Amounts]
"""Amounts by day (since the epoch, UTC) and kind."""


def amounts(share: Share) -> Iterator[tuple[int, Amounts]]:
    """Yield the days of a job with its amounts.

    Seconds and energy are split at midnight UTC; the start counts on its day, the job and its waiting time on the day
    of its end.
    """
    begin = min(share.start_time, LATEST_TIME)
    end = begin + min(share.duration, LONGEST)
    first, last = begin // DAY, end // DAY
    for day in range(first, last + 1):
        since, until = max(begin, day * DAY) - begin, min(end, (day + 1) * DAY) - begin
        seconds = until - since
        is_last = day == last
        yield (
            day,
            Amounts(
                started=int(day == first),
                jobs=int(is_last),
                waited=int(is_last and share.waiting > 0),
                waiting_seconds=share.waiting if is_last else 0,
                node_seconds=share.num_nodes * seconds,
                core_seconds=share.cores * seconds,
                acc_seconds=share.accelerators * seconds,
                # The difference of two roundings, so that the parts of a job add up to the whole.
                energy=share.power * until // 1000 - share.power * since // 1000,
            ),
        )


def sums(added: Iterable[Share], removed: Iterable[Share] = ()) -> Sums:
    """Return what usage changes by when these jobs are added and those taken away, without what stays as it is."""
    total: dict[tuple[int, Kind], list[int]] = {}
    for shares, sign in ((added, 1), (removed, -1)):
        for share in shares:
            for day, of_day in amounts(share):
                into = total.setdefault((day, share.kind), [0] * len(of_day))
                for place, amount in enumerate(of_day):
                    into[place] += sign * amount
    return {key: Amounts(*numbers) for key, numbers in total.items() if any(numbers)}
