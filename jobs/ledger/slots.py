"""Which metric has which slot of the footprints."""

from collections.abc import Iterable

from django.db import connection

from jobs.records import SLOTS, FootprintMetric

_SLOTS = f'SELECT "name", "slot" FROM "{FootprintMetric._meta.db_table}" ORDER BY "slot"'


def slots() -> dict[str, int]:
    """Return the slot (1 to SLOTS) of each metric that has one, by the metric's name."""
    with connection.cursor() as cursor:  # each batch of archived jobs asks, and the ORM takes ten times as long
        cursor.execute(_SLOTS)
        return dict(cursor.fetchall())


def slots_for(names: Iterable[str]) -> dict[str, int]:
    """Return the slots of these metrics; one without a slot gets the next free one, or none if all are taken.

    The caller opens the transaction. Two that want the same slot at once wait for each other, and one looks again.
    """
    wanted = list(dict.fromkeys(names))
    known = slots()
    while new := [name for name in wanted if name not in known][: SLOTS - len(known)]:
        first = max(known.values(), default=0) + 1
        rows = [FootprintMetric(slot=slot, name=name) for slot, name in enumerate(new, first)]
        FootprintMetric.objects.bulk_create(rows, ignore_conflicts=True)
        known = slots()
    return {name: known[name] for name in wanted if name in known}
