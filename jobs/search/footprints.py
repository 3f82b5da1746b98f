"""Jobs by what they used: `flops_any:<5%`, `mem_used.max:>200GB`, `cpu_load.idle:>50%`, `energy:>10`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db.models import Q

from archive import root
from jobs.ledger.slots import slots
from jobs.records import PER_MILLE
from jobs.search.booked import by_footprint
from jobs.search.criteria import Criterion
from jobs.search.values import Range, Ranges, amount, any_in, ranges, share

FIGURES = {
    "": ("avg", "avg_share"),
    "avg": ("avg", "avg_share"),
    "max": ("max", "max_share"),
    "idle": (None, "idle"),
    "imbalance": (None, "imbalance"),
}
"""What may follow a metric's name after a dot: the columns of amounts and of shares."""


@dataclass(frozen=True)
class Figure:
    """A figure of a metric: the columns of its amount, which some have not, and of its share of the peak."""

    amount: str | None
    share: str
    prefix: str
    base: str

    def read(self, text: str) -> Q:
        """Parse `<5%` or `>200GB`; raise ValueError."""
        if "%" in text or self.amount is None:
            return any_in(self.share, tuple(_per_mille(each) for each in ranges(share)(text)))
        return any_in(self.amount, ranges(partial(amount, prefix=self.prefix, base=self.base))(text))


def _per_mille(found: Range) -> Range:
    def scaled(limit: float | None) -> float | None:
        return None if limit is None else round(limit * PER_MILLE, 6)

    return Range(scaled(found.least), scaled(found.most), above=found.above, below=found.below)


def figure_of(name: str) -> Figure | None:
    """Return the figure that a name as `mem_used.max` means; None if there is no such metric or figure."""
    metric, _, kind = name.partition(".")
    if kind not in FIGURES:
        return None
    slot = slots().get(metric)
    if slot is None:
        return None
    of_amount, of_share = FIGURES[kind]
    unit = unit_of(metric)
    columns = (of_amount and f"{of_amount}_{slot}", f"{of_share}_{slot}")
    return Figure(*columns, prefix=unit.get("prefix", ""), base=unit.get("base", ""))


def unit_of(metric: str) -> dict[str, str]:
    """Return prefix and base of a metric's unit, by the first cluster that has it."""
    clusters = root.registry()
    for name in sorted(clusters.names()):
        cluster = clusters.get(name)
        found = cluster.metric(metric) if cluster else None
        if found is not None:
            return found.unit
    return {}


energy: Callable[[str], Ranges] = ranges(partial(amount, prefix="k", base="Wh"))
"""Parse a range of kilowatt hours."""


def by_energy(found: Ranges, seen: Any = None) -> Criterion:
    """Match the ended jobs that used an energy (kWh)."""
    return by_footprint(any_in("energy", found))
