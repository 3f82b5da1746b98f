"""The size of the largest JSON document that is read."""

from django.conf import settings

_given: int | None = None


def max_json() -> int:
    """Return the limit in bytes: the one that was given to this process, or else ARCHIVE_MAX_JSON."""
    return int(settings.ARCHIVE_MAX_JSON) if _given is None else _given


def use_max_json(limit: int) -> None:
    """Use the limit (bytes) of the process that started this one."""
    global _given
    _given = limit
