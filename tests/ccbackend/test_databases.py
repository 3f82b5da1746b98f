"""The engines ccbackend.sqlite and ccbackend.postgresql: databases that cannot be used are refused, with the cure."""

import os
import platform
import secrets
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from ccbackend.checks import check_database
from tests.support.paths import PROJECT

POSTGRES = os.environ.get("DATABASE_URL", "")
on_postgres = pytest.mark.skipif(not POSTGRES.startswith("postgres"), reason="of PostgreSQL alone")
on_sqlite = pytest.mark.skipif(POSTGRES.startswith("postgres"), reason="of SQLite alone")

# Let the kernel answer ENOLCK to every lock of a file, as NFS without a lock daemon does, then run a command.
WITHOUT_LOCKS = """
import ctypes, runpy, struct, sys
code = lambda *steps: b"".join(struct.pack("HBBI", *step) for step in steps)
refuse = code((0x20, 0, 0, 0), (0x15, 0, 6, 72), (0x20, 0, 0, 24), (0x15, 3, 0, 6), (0x15, 2, 0, 7), (0x15, 1, 0, 37),
    (0x15, 0, 1, 38), (0x06, 0, 0, 0x00050000 | 37), (0x06, 0, 0, 0x7FFF0000))
program = ctypes.create_string_buffer(refuse, len(refuse))
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_void_p)]
libc = ctypes.CDLL(None)
filter = Filter(len(refuse) // 8, ctypes.cast(program, ctypes.c_void_p))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(filter), 0, 0):
    sys.exit(77)
sys.argv = sys.argv[1:]
(runpy.run_module if sys.argv[0] == "gunicorn" else runpy.run_path)(sys.argv[0], run_name="__main__")
"""


def run(script: str, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a script with arguments."""
    environment = os.environ | {"SECRET_KEY": "for-a-test", "WEB_CONCURRENCY": "1"} | settings
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=100
    )


COMMANDS = (("manage.py", "check"), ("manage.py", "migrate"), ("gunicorn", "ccbackend.wsgi", "-b", "127.0.0.1:0"))


@on_sqlite
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the filter of system calls is for x86-64")
@pytest.mark.parametrize("command", COMMANDS)
def test_sqlite_on_a_file_system_without_locks_is_refused(tmp_path: Path, command: tuple[str, ...]) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    ended = run(WITHOUT_LOCKS, *command, DATABASE_URL=url, ARCHIVE_ROOT=str(tmp_path / "archive"))
    if ended.returncode == 77:
        pytest.skip("this system allows no filter of system calls")
    assert ended.returncode not in (0, 77)
    assert f"DATABASE_URL: the file system of {tmp_path} has no locks" in ended.stderr
    assert "put the database on a local disk, or use PostgreSQL" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.fixture
def latin1(db: None) -> Iterator[str]:
    """Return the URL of a database in Latin-1."""
    name = f"latin1_{secrets.token_hex(4)}"
    with psycopg.connect(POSTGRES, autocommit=True) as postgres:
        postgres.execute(
            f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0".encode()
        )
        yield urllib.parse.urlunsplit(urllib.parse.urlsplit(POSTGRES)._replace(path=f"/{name}"))
        postgres.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@on_postgres
def test_postgresql_in_another_encoding_is_refused(latin1: str, tmp_path: Path) -> None:
    run_it = WITHOUT_LOCKS[: WITHOUT_LOCKS.index("code =")] + WITHOUT_LOCKS[WITHOUT_LOCKS.index("sys.argv =") :]
    for command in COMMANDS:
        ended = run(run_it, *command, DATABASE_URL=latin1, ARCHIVE_ROOT=str(tmp_path / "archive"))
        assert ended.returncode != 0
        assert "has the encoding LATIN1" in ended.stderr
        assert "ENCODING 'UTF8' TEMPLATE template0" in ended.stderr
        assert "Traceback" not in ended.stderr


@on_postgres
def test_psql_is_given_the_server_that_stands_after_the_question_mark() -> None:
    assert "@/" in POSTGRES, "the host of the tests' server stands there"
    assert "?host=" in POSTGRES
    question = ("dbshell", "--", "-Atc", "SELECT current_database(), current_user")
    ended = run("import runpy; runpy.run_path('manage.py', run_name='__main__')", *question, PGHOST="/nowhere")
    assert (ended.stdout, ended.stderr) == (f"{urllib.parse.urlsplit(POSTGRES).path[1:]}|postgres\n", "")


@on_postgres
@pytest.mark.django_db(transaction=True)
def test_a_role_gets_a_bound_for_locks_at_its_first_connection() -> None:
    name = connection.settings_dict["NAME"]
    where = {"dbname": name, "user": "postgres", "host": connection.settings_dict["HOST"]}
    with psycopg.connect(**where, autocommit=True) as postgres:
        for value in ("0", "'1h'"):
            postgres.execute(f"ALTER ROLE postgres IN DATABASE {name} SET lock_timeout = {value}".encode())
            connection.close()
            with connection.cursor() as cursor:
                cursor.execute("SHOW lock_timeout")
                assert cursor.fetchone() == ("20s",)
            with psycopg.connect(**where) as other:
                assert other.execute("SHOW lock_timeout").fetchone() == ("20s",)
    assert check_database(None) == []


@on_postgres
@pytest.mark.django_db(transaction=True)
def test_a_role_that_keeps_no_bound_is_a_warning_of_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    name = connection.settings_dict["NAME"]
    where = {"dbname": name, "user": "postgres", "host": connection.settings_dict["HOST"]}
    with psycopg.connect(**where, autocommit=True) as postgres:
        postgres.execute(b"CREATE ROLE reader LOGIN")
        postgres.execute(b"ALTER ROLE reader SET default_transaction_read_only = on")
        monkeypatch.setitem(connection.settings_dict, "USER", "reader")
        try:
            assert [message.id for message in check_database(None)] == ["ccbackend.W001"]
        finally:
            postgres.execute(b"DROP ROLE reader")


def test_a_database_that_is_away_is_no_matter_of_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "HOST", "/nowhere")
    monkeypatch.setitem(connection.settings_dict, "NAME", "/nowhere/at/all" if connection.vendor == "sqlite" else "x")
    assert check_database(None) == []
