"""Work on all cores: functions that read and write files, in processes of their own, away from the database."""

import gc
import importlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import forkserver, resource_tracker
from types import TracebackType
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")

_MOST = 8  # processes: more than that one database does not keep up with
_OBJECTS_BEFORE_COLLECTION = 50_000
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def cores() -> int:
    """Return how many processes can run at once here, and one database keeps up with."""
    return min(len(os.sched_getaffinity(0)), _MOST)


class Workers:
    """Processes, one per core. They end with this one, however it ends, and leave Ctrl-C to it."""

    def __init__(self, preload: str, number: int | None = None) -> None:
        """Prepare; the processes start with the first work. `preload` is the module that they have imported by then."""
        number = number or cores()
        self._pool = _pool(number, preload)
        self._ahead = 2 * number

    def __enter__(self) -> "Workers":
        """Return this."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        """Let what is in work end, and drop the rest."""
        self._pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[[Given], tuple[Made, Given | None]], given: Iterable[Given]) -> Iterator[Made]:
        """Yield what `function` makes of each, in order; only a few are taken from `given` ahead of time.

        `function` returns what it made, and what it left of the given, for a call of its own, where that became large.
        """
        waiting: deque[Future[tuple[Made, Given | None]]] = deque()
        for item in given:
            waiting.append(self._pool.submit(function, item))
            while len(waiting) > self._ahead:
                yield self._next(function, waiting)
        while waiting:
            yield self._next(function, waiting)

    def _next(
        self,
        function: Callable[[Given], tuple[Made, Given | None]],
        waiting: deque[Future[tuple[Made, Given | None]]],
    ) -> Made:
        made, rest = waiting.popleft().result()
        if rest:
            waiting.appendleft(self._pool.submit(function, rest))
        return made


def prepared(number: int, preload: str) -> ProcessPoolExecutor:
    """Return the processes of a service: they have imported `preload`, leave signals to this one and end with it."""
    return _pool(number, preload, signal.SIG_IGN)  # a service's stop reaches the whole group


def _pool(number: int, preload: str, on_terminate: signal.Handlers = signal.SIG_DFL) -> ProcessPoolExecutor:
    """Return processes that come from a server process, which has loaded `preload` once for all of them.

    They are never forked from this one: it has threads, and one may hold a lock at the moment of a fork.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    # A Ctrl-C reaches the whole group: the server would end with a traceback while it still imports. Its helper is
    # started before, because that unblocks the signals.
    resource_tracker.ensure_running()
    former = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        forkserver.ensure_running()  # it inherits the mask, and so do the processes
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
    return ProcessPoolExecutor(number, mp_context=context, initializer=_begin, initargs=(preload, on_terminate))


def _begin(preload: str, on_terminate: signal.Handlers) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, on_terminate)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Mostly done. The server has none of it if it began for other work, or found no module from its working directory.
    importlib.import_module(preload)
    # What came with the fork stays, and what is made here hardly ever refers back to itself: looking for such circles
    # all the time took a fifth of reading meta.json.
    gc.freeze()
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
