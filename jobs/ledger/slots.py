"""Which metric has which slot of the footprints."""

from collections.abc import Iterable

from jobs.records import SLOTS, FootprintMetric


def slots() -> dict[str, int]:
    """Return the slot (1 to SLOTS) of each metric that has one, by the metric's name."""
    return dict(FootprintMetric.objects.order_by("slot").values_list("name", "slot"))


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
