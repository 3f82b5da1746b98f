"""Work on all cores: run functions that read and write files in separate processes, without a database."""

import contextlib
import fcntl
import gc
import importlib
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from functools import cache
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.util import get_temp_dir
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from archive.limits import max_json, use_max_json

Given = TypeVar("Given")
Made = TypeVar("Made")

_MOST = 8  # processes; one database does not keep up with more

# Rows hardly ever form reference cycles: searching for cycles all the time took a fifth of the time of reading
# meta.json, and a seventh of the time of inserting rows.
_OBJECTS_BEFORE_COLLECTION = 50_000

_HEARS_CTRL_C = 0.1  # seconds between two looks for a Ctrl-C while a result is awaited
_IN_USE = "ccbackend-lock"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let a Ctrl-C wait for the end of the block, so that what was done in it is also counted.

    Other threads than the main one are never interrupted, and a handler that somebody else has set stays.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    pressed = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if pressed.is_set():
            raise KeyboardInterrupt


@contextlib.contextmanager
def collecting_rarely() -> Iterator[None]:
    """Let Python search for reference cycles more rarely in a block that makes many objects, as the processes do."""
    former = gc.get_threshold()
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION)
    try:
        yield
    finally:
        gc.set_threshold(*former)


def cores() -> int:
    """Return the number of processes to run at once: one per available core, up to as many as a database serves."""
    return min(len(os.sched_getaffinity(0)), _MOST)


class Workers:
    """Processes, one per core. They end with this process, however it ends, and leave Ctrl-C to it."""

    def __init__(self, preload: str, number: int | None = None) -> None:
        """Prepare; the processes start with the first call. `preload` names the module that they import before it."""
        number = number or cores()
        self._pool = _pool(number, preload)
        self._ahead = 2 * number

    def __enter__(self) -> "Workers":
        """Return this."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        """Wait for the calls in progress, and cancel the others.

        At the end of the work a Ctrl-C waits until all processes have ended: one that was still starting, as there was
        too little work for it, would find the pool's locks gone and end with a traceback.
        """
        with uninterrupted() if kind is None else contextlib.nullcontext():
            self._pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[[Given], tuple[Made, Given | None]], given: Iterable[Given]) -> Iterator[Made]:
        """Yield the result of `function` for each item, in order; only a few are taken from `given` ahead of time.

        `function` returns its result and None; or, if the result became large, a part of it and the rest of the item,
        which gets a call of its own.
        """
        waiting: deque[Future[tuple[Made, Given | None]]] = deque()
        for item in given:
            waiting.append(self._submit(function, item))
            while len(waiting) > self._ahead:
                yield self._next(function, waiting)
        while waiting:
            yield self._next(function, waiting)

    def _next(
        self,
        function: Callable[[Given], tuple[Made, Given | None]],
        waiting: deque[Future[tuple[Made, Given | None]]],
    ) -> Made:
        call, is_done = waiting.popleft(), False
        while not is_done:
            # A Ctrl-C inside Python's look at a call may leave its lock taken: the pool would wait for that forever.
            with uninterrupted():
                is_done = bool(wait([call], _HEARS_CTRL_C).done)
                if is_done:
                    made, rest = call.result()
        if rest:
            waiting.appendleft(self._submit(function, rest))
        return made

    def _submit(
        self, function: Callable[[Given], tuple[Made, Given | None]], item: Given
    ) -> Future[tuple[Made, Given | None]]:
        """Hand a call to the processes.

        Without a Ctrl-C in between: a process that has started and is not known to the pool would end with a traceback.
        """
        with uninterrupted():
            return self._pool.submit(function, item)


def prepared(number: int, preload: str) -> ProcessPoolExecutor:
    """Return the processes of a service: they import `preload` first, leave signals to this process and end with it."""
    return _pool(number, preload, signal.SIG_IGN)  # a service's stop reaches the whole group


class _Process(ForkServerProcess):
    def terminate(self) -> None:
        """End it at once: the pool asks for that if one of its processes was killed, and then waits for the others.

        SIGTERM would be ignored in the processes of a service, and a call that hangs would hold up the service's end.
        """
        self.kill()


class _Context(ForkServerContext):
    Process = _Process


class _Pool(ProcessPoolExecutor):
    def submit(self, *given: Any, **named: Any) -> "Future[Any]":
        """Hand over a call; end a process that was started for it while the pool lost another and ended the rest."""
        try:
            return super().submit(*given, **named)
        finally:
            if self._broken:
                for process in list((self._processes or {}).values()):
                    process.kill()


def _pool(number: int, preload: str, on_terminate: signal.Handlers = signal.SIG_DFL) -> ProcessPoolExecutor:
    """Return processes that are forked from a fork server, which has loaded `preload` once for all of them.

    They are never forked from this process: it has threads, and one may hold a lock at the moment of a fork.
    """
    context = _Context()
    context.set_forkserver_preload([preload])
    # A Ctrl-C reaches the whole group: the server would end with a traceback while it still imports. Its helper is
    # started before, because that unblocks the signals.
    resource_tracker.ensure_running()
    _lock_temporary_folder()
    former = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        forkserver.ensure_running()  # it inherits the mask, and so do the processes
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
    given = (preload, on_terminate, max_json())
    return _Pool(number, mp_context=context, initializer=_begin, initargs=given)


@cache
def _lock_temporary_folder() -> int:
    """Lock the folder of the fork server's socket as long as this process lives; remove those of killed processes.

    Python removes the folder when a process ends, but not if it is killed. The lock is taken before it gets its name,
    so that nobody finds the lock of a living process free. Return its descriptor.
    """
    _remove_abandoned(Path(tempfile.gettempdir()))
    folder = Path(get_temp_dir())
    descriptor = os.open(folder / f"{_IN_USE}.new", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with contextlib.suppress(OSError):  # a file system without locks: the folder is never taken for abandoned
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (folder / f"{_IN_USE}.new").rename(folder / _IN_USE)
    return descriptor


def _remove_abandoned(parent: Path) -> None:
    for lock in parent.glob(f"pymp-*/{_IN_USE}"):
        with contextlib.suppress(OSError):  # of another account, or just removed by its process
            if lock.parent.lstat().st_uid == os.geteuid():
                with lock.open("r+b") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(lock.parent)


def _begin(preload: str, on_terminate: signal.Handlers, most: int) -> None:
    use_max_json(most)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, on_terminate)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Usually done already, but not if the fork server was started for other work or did not find the module.
    importlib.import_module(preload)
    gc.freeze()  # objects from the fork stay
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
