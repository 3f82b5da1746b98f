"""pgbouncer in transaction mode between the tests and their PostgreSQL."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PORT = 6432

_UNPACKED = Path(sys.prefix) / "pgbouncer"  # by the Makefile
_CONFIGURATION = """\
[databases]
* = host={postgres}
[pgbouncer]
pool_mode = transaction
unix_socket_dir = {folder}
listen_addr =
listen_port = {port}
auth_type = trust
auth_file = {folder}/users
"""


def program() -> str | None:
    """Return the path of pgbouncer; None if there is none."""
    places = [os.environ.get("PATH", ""), "/usr/sbin", str(_UNPACKED / "usr" / "sbin")]
    return shutil.which("pgbouncer", path=os.pathsep.join(places))


@contextlib.contextmanager
def running_pooler(folder: Path, postgres: Path) -> Iterator[None]:
    """Run pgbouncer with its socket in a new folder, in front of the PostgreSQL whose socket is in another."""
    folder.mkdir()
    (folder / "users").write_text('"postgres" ""\n')
    (folder / "pgbouncer.ini").write_text(_CONFIGURATION.format(postgres=postgres, folder=folder, port=PORT))
    owner = postgres.stat()
    if os.geteuid() == 0:  # as whom pgbouncer does not run
        os.chown(folder, owner.st_uid, owner.st_gid)
    libraries = os.pathsep.join(map(str, _UNPACKED.glob("usr/lib/*-linux-gnu")))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program() or "pgbouncer", str(folder / "pgbouncer.ini")],
            env=os.environ | ({"LD_LIBRARY_PATH": libraries} if libraries else {}),
            user=owner.st_uid if os.geteuid() == 0 else None,
            group=owner.st_gid if os.geteuid() == 0 else None,
            extra_groups=[] if os.geteuid() == 0 else None,
            stdout=log,
            stderr=log,
        )
    try:
        while not _listens(folder / f".s.PGSQL.{PORT}"):
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.02)
        yield
    finally:
        process.kill()
        process.wait()


def _listens(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        return True
    return False
