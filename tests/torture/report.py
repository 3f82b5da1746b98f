"""What came of a run, and the tables that show it."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Report:
    """What came of a run: the sums, the breakages, and all that is wrong (empty: nothing)."""

    database: str
    sums: dict[str, int] = field(default_factory=dict)
    broken: Counter[str] = field(default_factory=Counter)
    longest: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def sums_table(reports: list[Report]) -> str:
    """Return the sums as a table in Markdown."""
    lines = [_row("", *[report.database for report in reports]), _row("---", *["---:"] * len(reports))]
    lines += [_row(key, *[f"{report.sums[key]:,}" for report in reports]) for key in reports[0].sums]
    return "\n".join(lines)


def tables(reports: list[Report]) -> str:
    """Return the sums and the breakages as tables in Markdown."""
    lines = [sums_table(reports), "", _row("broken", *[f"{one.database}: times, longest call" for one in reports])]
    lines.append(_row("---", *["---:"] * len(reports)))
    for key in dict.fromkeys(key for report in reports for key in [*report.broken, *report.skipped]):
        lines.append(_row(key, *[_breakage(report, key) for report in reports]))
    return "\n".join(lines)


def _breakage(report: Report, name: str) -> str:
    if name in report.skipped:
        return f"skipped: {report.skipped[name]}"
    return f"{report.broken[name]}, {report.longest[name]:.1f} s"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
