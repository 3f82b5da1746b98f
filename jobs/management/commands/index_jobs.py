"""Write down nodes, footprint and usage of the ended jobs that have none yet."""

from typing import Any

from accounts.console import ServerCommand
from jobs.management.indexing import index


class Command(ServerCommand):
    """Book ended jobs."""

    help = (
        "Write down nodes, footprint and usage of the ended jobs of which that has not been done, newest first: after "
        "an upgrade of all of them. Archive workers do it too, 50 jobs a second. If it is interrupted, run it again to "
        "go on; nothing is counted twice."
    )
    requires_system_checks = "__all__"

    def handle(self, *args: Any, **options: Any) -> None:
        """Book, and print how many."""
        index(self)
