"""All checks of health: what the page, the command and the monitoring addresses show."""

import logging
import time
from collections.abc import Callable, Iterator

from django.core.cache import cache
from django.db import DatabaseError

from jobs.health import archive, archiving, calls, counting, database, ghosts, hooks, rules, tokens
from jobs.health.look import Look
from jobs.health.report import Finding, NoAnswerError, State, queries_within_limit

logger = logging.getLogger(__name__)

_KEPT = 10  # seconds for which the first page uses the bad findings
_CACHED = "health:bad"

Check = Callable[[Look], Iterator[Finding]]

OF_FILES: dict[str, Check] = {archive.NAME: archive.check, archive.CLUSTERS: archive.check_clusters}
OF_ROWS: dict[str, Check] = {
    database.NAME: database.check,
    archiving.WORKER: archiving.check_worker,
    archiving.JOBS: archiving.check_jobs,
    archiving.SOURCES: archiving.check_sources,
    hooks.QUIET: hooks.check_quiet,
    hooks.REFUSED: hooks.check_refused,
    ghosts.WALLTIME: ghosts.check_walltime,
    hooks.NODES: hooks.check_nodes,
    calls.NAME: calls.check,
    calls.LOG_INS: calls.check_log_ins,
    tokens.NAME: tokens.check,
    rules.NAME: rules.check,
}
"""The checks by name; those of rows need the database. Each yields its findings."""


def report(look: Look | None = None) -> list[Finding]:
    """Return what all checks find, in their order; if the database cannot be used, without those that need it."""
    look = look or Look(int(time.time()))
    away = database.trouble()
    look.is_away = away is not None
    if away is None:
        counting.store()  # what this process has counted last
    found = [away] if away else _run(database.NAME, OF_ROWS[database.NAME], look)
    for name, check in OF_FILES.items():
        found += _run(name, check, look)
    for name, check in OF_ROWS.items() if away is None else ():
        found += _run(name, check, look) if name != database.NAME else []
    cache.set(_CACHED, [finding for finding in found if finding.state != State.OK], _KEPT)
    return found


def worst(findings: list[Finding]) -> tuple[State, int]:
    """Return the worst state, and how many findings are not ok."""
    bad = [finding.state for finding in findings if finding.state != State.OK]
    return max(bad, default=State.OK), len(bad)


def bad_now() -> list[Finding]:
    """Return the findings that are not ok, the worst first, of a report that is not older than ten seconds."""
    known: list[Finding] | None = cache.get(_CACHED)
    found = report() if known is None else known
    return sorted((finding for finding in found if finding.state != State.OK), key=lambda finding: -finding.state)


def not_ready() -> list[Finding]:
    """Return what keeps the server from serving: a database that cannot be used, an archive that cannot be written."""
    return [finding for finding in (database.trouble(), archive.trouble()) if finding]


def _run(name: str, check: Check, look: Look) -> list[Finding]:
    """Return what a check finds; one that fails says so and leaves the others alone."""
    try:
        if name in OF_FILES:
            return list(check(look))
        with queries_within_limit():
            return list(check(look))
    except (DatabaseError, NoAnswerError, OSError) as error:
        sentence = f"This could not be looked at: {' '.join(str(error).split())}."
        return [Finding(name, State.WARNING, sentence, "Look at the load of the database and the file system.")]
    except Exception:
        logger.exception("the check of %s failed", name)
        return [Finding(name, State.WARNING, "This could not be looked at.", "Its traceback is in the server's log.")]
