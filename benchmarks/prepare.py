"""Fill the database of DATABASE_URL for a benchmark: `python -m benchmarks.prepare JOBS` prints an API token.

A database or an archive that holds anything is refused.
"""

import sys

import django

from benchmarks import guard, many


def main() -> None:
    """Migrate, write the demo cluster, insert jobs, and create a user with a token."""
    django.setup()

    from django.core.management import call_command

    from accounts.models import ApiToken, Role
    from accounts.services import create_user
    from archive import root
    from jobs import demo

    guard.require_empty()
    call_command("migrate", verbosity=0)
    demo.write_cluster(root.store())
    many.insert(int(sys.argv[1]))
    _, token = ApiToken.issue(user=create_user(username="benchmark", roles=[Role.API], password=""))
    print(token)


if __name__ == "__main__":
    main()
