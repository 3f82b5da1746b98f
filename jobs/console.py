"""Shared parts of the commands about jobs: times as operators write them, questions, progress, signals, the actor."""

import argparse
import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from types import FrameType
from typing import Any, TypeAlias

from django.core.management.base import CommandError, OutputWrapper
from django.utils import timezone
from tqdm import tqdm

from accounts.console import BAD_USAGE, INTERRUPTED, ServerCommand, on_terminal, printable, whole_number
from accounts.management.shared import shell_user
from archive import root
from archive.format.layout import is_valid_cluster_name
from jobs.history import Actor
from jobs.models import Job
from jobs.text import LATEST_TIME, TOO_LATE

__all__ = [
    "BAD_USAGE",
    "INTERRUPTED",
    "Bar",
    "ServerCommand",
    "complaining",
    "confirm",
    "days_ago",
    "following",
    "leave_now",
    "on_terminal",
    "parse_when",
    "printable",
    "progress",
    "require_answer",
    "require_cluster",
    "shell_actor",
    "shown_size",
    "shown_time",
    "stop_on_signals",
    "whole_number",
]

Bar: TypeAlias = "tqdm[Any]"  # as a text: generic in the stub alone

_MOST_DAYS = 18250  # 50 years
_LOOK_EVERY = 0.2  # seconds between two updates of a bar from another thread's count


def shell_actor() -> Actor:
    """Return the actor of a command, for the history."""
    user, through = shell_user()
    return Actor(user.pk, through)


def parse_when(text: str) -> int:
    """Parse epoch seconds or an ISO date or time to epoch seconds; a time without a zone is in TIME_ZONE.

    A fraction of a second is rounded up, so that "before" keeps its meaning for whole seconds.
    """
    expected = (
        "expected epoch seconds, or a date or time such as 2024-07-01, 2024-07-01T06:00 or 2024-07-01T06:00+02:00"
    )
    try:
        if text.isascii() and text.isdecimal():
            seconds = int(text)
        else:
            moment = datetime.fromisoformat(text)
            seconds = math.ceil((moment if timezone.is_aware(moment) else timezone.make_aware(moment)).timestamp())
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: {expected}") from None
    if seconds > LATEST_TIME:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: {TOO_LATE}")
    return seconds


def days_ago(text: str) -> int:
    """Parse a number of days and return the time that many days ago (epoch seconds)."""
    return int(time.time()) - whole_number(text, least=0, most=_MOST_DAYS) * 86400


def require_cluster(name: str) -> None:
    """Raise CommandError, with the exit status of bad usage, for a cluster that neither archive nor database knows."""
    in_archive = is_valid_cluster_name(name) and (root.store().root / name).is_dir()
    if not in_archive and not Job.objects.filter(cluster=name).exists():
        raise CommandError(f"--cluster {name[:80]!r}: there is no such cluster here", returncode=BAD_USAGE)


def shown_time(seconds: int) -> str:
    """Return epoch seconds as a readable time in TIME_ZONE."""
    try:
        return f"{datetime.fromtimestamp(seconds, timezone.get_default_timezone()):%Y-%m-%d %H:%M:%S %Z}"
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s after 1970"


def shown_size(size: int) -> str:
    """Return a readable size, such as `3.40GB`; `size` is in bytes."""
    return tqdm.format_sizeof(size, "B")


def require_answer(*, yes: bool) -> None:
    """Raise CommandError if a confirmation is needed and there is no terminal to ask on."""
    if not yes and not on_terminal():
        raise CommandError(
            "There is no terminal to ask on: give --yes to do it without a question.", returncode=BAD_USAGE
        )


def confirm(question: str, *, yes: bool) -> bool:
    """Ask on the terminal, and return whether the answer is y or yes; with `yes` return True without asking."""
    require_answer(yes=yes)
    if yes:
        return True
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def progress(*, total: int | None, unit: str, verbosity: int) -> Bar:
    """Return a progress bar on stderr with rate and time left, silent without a terminal or with `-v 0`."""
    silent = verbosity < 1 or not sys.stderr.isatty()
    return tqdm(total=total, unit=f" {unit}s", disable=silent, file=sys.stderr, dynamic_ncols=True)


def complaining(stderr: OutputWrapper, verdict: str) -> Callable[[str], None]:
    """Return a function that writes `verdict: text` to stderr, above a bar if there is one."""

    def complain(text: str) -> None:
        with tqdm.external_write_mode(file=sys.stderr):
            stderr.write(f"{verdict}: {printable(text)}")

    return complain


@contextlib.contextmanager
def following(bar: Bar, done: Callable[[], int]) -> Iterator[None]:
    """Keep a bar at the number that `done` returns and other threads increment."""
    if bar.disable:
        yield
        return
    finished = threading.Event()

    def look() -> None:
        while not finished.wait(_LOOK_EVERY):
            bar.update(done() - bar.n)

    thread = threading.Thread(target=look, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
        bar.update(done() - bar.n)


@contextlib.contextmanager
def stop_on_signals(stopping: threading.Event) -> Iterator[None]:
    """Set an event on SIGTERM or SIGINT; the same signal a second time ends the process at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        # Not in the handler: if the main thread is inside Event.wait, it holds the lock that `set` would wait for.
        threading.Thread(target=stopping.set, name="stop").start()

    before: dict[int, Any] = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_now(status: int) -> None:
    """End this process without waiting for its threads and processes.

    Python would wait, and one of them may hang on a metric store until its timeout. Its jobs have been released, and
    files appear whole or not at all.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
