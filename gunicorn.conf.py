"""gunicorn's settings, read by `gunicorn ccbackend.wsgi` from the project's root; docs/deployment.md explains them.

Options on gunicorn's command line override this file.
"""

import contextlib
import gc
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from gunicorn.glogging import Logger

# gunicorn reads this file anew at each HUP, and starts its processes as copies of its own. What it has loaded of the
# project would stay that of before an update, beside new modules that it had not: so it forgets all but the counts.
# Other programs that run this file, such as tests, keep theirs.
_KEPT = "ccbackend.fastpath.shared"
if re.search(r"gunicorn(/__main__\.py)?$", sys.argv[0]):
    for _name in [*sys.modules]:
        if _name.partition(".")[0] in {"accounts", "archive", "ccbackend", "jobs"} and _name != _KEPT:
            del sys.modules[_name]

from ccbackend import logs  # noqa: E402
from ccbackend.environment import parse_file  # noqa: E402
from ccbackend.fastpath import shared  # noqa: E402, F401  loaded here, its counts are those of all processes

_MOST_WORKERS = 1000  # as in ccbackend.settings


def _workers() -> int:
    """Return WEB_CONCURRENCY, by default the number of CPUs.

    gunicorn has read it before, and ends with a traceback if it is no number at all.
    """
    text = os.environ.get("WEB_CONCURRENCY", str(os.cpu_count() or 1)).strip()
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= _MOST_WORKERS:
        sys.exit(f"Configuration error: WEB_CONCURRENCY={text!r}: expected a whole number from 1 to {_MOST_WORKERS}")
    return int(text)


def _log_format() -> str:
    """Return LOG_FORMAT as ccbackend.settings reads it, which refuses what it cannot be."""
    found = dict(os.environ)
    with contextlib.suppress(OSError, ValueError):
        found = parse_file(Path(found.get("ENV_FILE", ".env")).read_bytes()) | found
    return found.get("LOG_FORMAT", "text").strip().lower()


class Log(Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's log, in the format of all others."""

    def setup(self, cfg: Any) -> None:
        """Open the files."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(logs.formatter(_log_format()))


logger_class = Log
bind = "127.0.0.1:8080"
workers = _workers()
worker_class = "ccbackend.fastpath.worker.Worker"
threads = 8  # for calls that may take long; the main loop answers short ones
keepalive = 75  # seconds; adapters keep their connection open between the events of a burst
timeout = 600  # seconds; a long list or a large deletion must not reach it
graceful_timeout = 30  # seconds
forwarder_headers = ""  # a client's SCRIPT_NAME or PATH_INFO would pass a proxy's rules for paths
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}  # which proxies overwrite, unlike others that gunicorn knows
limit_request_line = 8190  # bytes; a list with many filters
control_socket_disable = True


def on_reload(server: Any) -> None:
    """Let the old processes answer until the new ones do; gunicorn would end them while those load, for 2 s or more."""
    end_old_ones, last = server.manage_workers, server.worker_age

    def once_the_new_ones_answer() -> None:
        del server.manage_workers  # the method of the class is the next one again
        waiting = [(worker, worker.tmp.last_update()) for worker in server.WORKERS.values() if worker.age > last]
        deadline = time.monotonic() + graceful_timeout
        while waiting and time.monotonic() < deadline:
            time.sleep(0.05)
            waiting = [(worker, at) for worker, at in waiting if worker.tmp.last_update() == at and _lives(worker.pid)]
        end_old_ones()

    server.manage_workers = once_the_new_ones_answer


def _lives(pid: int) -> bool:
    """Return whether a process of the server has not ended."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def post_worker_init(worker: Any) -> None:
    """Exempt what a process has loaded before its first request from garbage collection."""
    gc.collect()
    gc.freeze()
