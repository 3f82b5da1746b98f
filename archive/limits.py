"""The size of the largest JSON document that is read."""

from django.conf import settings

DEFAULT_MAX_JSON = 2_000_000_000  # bytes

_given: int | None = None


def max_json() -> int:
    """Return the limit in bytes: the one that was given to this process, or else ARCHIVE_MAX_JSON."""
    if _given is not None:
        return _given
    return int(settings.ARCHIVE_MAX_JSON) if settings.configured else DEFAULT_MAX_JSON


def use_max_json(limit: int) -> None:
    """Use this limit in this process, which may have no settings."""
    global _given
    _given = limit
