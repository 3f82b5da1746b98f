"""What a benchmark may write to: an empty database and archive, or those that `python -m benchmarks.many` filled."""

import sys

PEOPLE = ("benchmark-admin", "benchmark-manager", "user001")
"""The users that benchmarks.many creates, without passwords."""


def require_empty() -> None:
    """Exit with a sentence unless database and archive are empty; asked after django.setup()."""
    from jobs import demo

    try:
        demo.require_empty()
    except demo.DemoError as error:
        sys.exit(f"Refused: {error}. DATABASE_URL and ARCHIVE_ROOT must name empty ones.")


def require_benchmark() -> None:
    """Exit with a sentence unless the database has the users of benchmarks.many and no others."""
    from accounts.models import User

    names = set(User.objects.values_list("username", flat=True)[: len(PEOPLE) + 1])
    if names != set(PEOPLE):
        sys.exit("Refused: DATABASE_URL must name a database that python -m benchmarks.many filled.")
