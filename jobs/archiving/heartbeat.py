"""The signs of life of an archive worker, from which jobs.health sees whether it lives and what its sources do."""

import contextlib
import logging
import os
import socket
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import Error
from django.db.models.functions import Now

from jobs.models import FreeSpace, WorkerHeartbeat

logger = logging.getLogger(__name__)

BEAT_EVERY = 10.0
"""Seconds between two signs of life."""

_SPACE_KEPT = 48  # hours

_FORGOTTEN = timedelta(days=1)  # after which the row of a killed worker of another host goes


class Heartbeat:
    """The row of one worker, which it writes every BEAT_EVERY seconds and deletes when it ends."""

    def __init__(self, worker: str) -> None:
        """Set the worker's name, without access to the database."""
        self.worker = worker
        self._next = float("-inf")
        self._begun = False
        self._recorded = 0

    @property
    def is_due(self) -> bool:
        """Return whether it is time for the next sign of life."""
        return time.monotonic() >= self._next

    def beat(
        self, *, archived: int, failed: int, clusters: Mapping[str, Mapping[str, int | None]], seconds: float = 0.0
    ) -> None:
        """Write a sign of life; see WorkerHeartbeat for the values. Raise django.db.Error."""
        counts: dict[str, Any] = {"archived": archived, "failed": failed, "seconds": seconds}
        state = counts | {"seen_at": Now(), "clusters": dict(clusters)}
        if not self._begun:
            self._begin()
        if not WorkerHeartbeat.objects.filter(pk=self.worker).update(**state):
            place: dict[str, Any] = {"host": socket.gethostname(), "process": os.getpid(), "started_at": Now()}
            WorkerHeartbeat.objects.create(worker=self.worker, **place, **state)
        self._next = time.monotonic() + BEAT_EVERY
        self._record_space()

    def _record_space(self) -> None:
        """Record the archive's free space once an hour, from which jobs.health sees when it will be full."""
        hour = int(time.time()) // 3600
        if hour == self._recorded:
            return
        self._recorded = hour
        with contextlib.suppress(OSError):  # jobs.health says so
            status = os.statvfs(settings.ARCHIVE_ROOT)
            FreeSpace.objects.bulk_create(
                [FreeSpace(hour=hour, free=status.f_bavail * status.f_frsize)], ignore_conflicts=True
            )
            FreeSpace.objects.filter(hour__lt=hour - _SPACE_KEPT).delete()

    def _begin(self) -> None:
        """Delete the rows of killed workers: this one takes the place of those of its host."""
        dead = WorkerHeartbeat.objects.filter(seen_at__lt=Now() - timedelta(seconds=6 * BEAT_EVERY))
        dead.filter(host=socket.gethostname()).delete()
        dead.filter(seen_at__lt=Now() - _FORGOTTEN).delete()
        self._begun = True

    def end(self) -> None:
        """Delete the row: the worker ends as it was told to."""
        try:
            WorkerHeartbeat.objects.filter(pk=self.worker).delete()
        except Error:
            logger.exception("could not record that the worker ends")
