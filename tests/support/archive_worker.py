"""An archive worker in a thread, for tests of what it does about trouble."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from django.db import connection

from jobs.archiving.worker import ArchiveWorker
from jobs.models import ArchiveTask
from tests.support.waiting import patience

RunWorker = Callable[[], ArchiveWorker]


@pytest.fixture
def run() -> Iterator[RunWorker]:
    """Return a function that starts a worker in a thread; it is stopped at the end."""
    started: list[tuple[ArchiveWorker, threading.Thread]] = []

    def start() -> ArchiveWorker:
        new = ArchiveWorker()

        def work() -> None:
            new.run()
            connection.close()

        thread = threading.Thread(target=work)
        thread.start()
        started.append((new, thread))
        return new

    yield start
    for one, thread in started:
        one.stopping.set()
        thread.join(patience(15))
        assert not thread.is_alive()


def wait_until(condition: Callable[[], bool], seconds: float) -> float:
    """Wait for something and return how long it took; fail with the tasks after so many seconds of an idle machine."""
    begin = time.monotonic()
    while not condition():
        in_time = time.monotonic() - begin < patience(seconds)
        assert in_time, list(ArchiveTask.objects.values_list("attempts", "error"))
        time.sleep(0.02)
    return time.monotonic() - begin
