"""What the log says while the database is away: a line a minute instead of one for each attempt."""

import logging

from django.db import Error, InterfaceError, OperationalError

from jobs.exceptions import NOT_MIGRATED, is_not_migrated

_MINUTE, _HOUR = 60, 3600  # seconds


def log_away(logger: logging.Logger, error: Error) -> None:
    """Log that the database did not carry out a statement; with a traceback if that is not by its absence."""
    if is_not_migrated(error):
        logger.error("%s", NOT_MIGRATED, extra={"seldom": ("migrations", _HOUR)})
        return
    is_away = isinstance(error, OperationalError | InterfaceError)
    reason = " ".join(str(error).split())
    extra = {"seldom": ("database", _MINUTE)}
    logger.error(
        "the database did not answer, trying again: %s", reason, exc_info=None if is_away else error, extra=extra
    )
