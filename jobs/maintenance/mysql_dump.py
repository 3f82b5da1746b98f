"""Dumps that mysqldump and mariadb-dump write, read into an SQLite database: table and column names, and the rows.

They begin each statement on a line of its own and escape line breaks in strings, so that a line that begins like a
statement is one. Their options that change the form of INSERT (--complete-insert, --skip-extended-insert, --hex-blob)
are understood; anything else is refused by its place in the file, since a row that is misread would be a wrong job.
"""

import mmap
import re
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path

_BEGINNING = re.compile(rb"\s*(?:--|/\*)")
_STATEMENT = re.compile(
    rb"^(?:CREATE TABLE (?:IF NOT EXISTS )?`(?P<created>\w+)` \(|INSERT (?:IGNORE )?INTO `(?P<filled>\w+)` )",
    re.MULTILINE,
)
_COLUMN = re.compile(rb"\n  `(\w+)` [^\n]*")
_WITH_COMMENTS, _COMPLETE = b"\n-- Host: ", b"\n-- Dump completed"
_NAMES = re.compile(rb"\(([^()]*)\) ")
_VALUES = re.compile(rb"VALUES\s*")
_VALUE = re.compile(
    rb"(?:(?P<null>NULL)|(?P<real>-?\d+\.\d*(?:[eE][-+]?\d+)?|-?\d+[eE][-+]?\d+)|0x(?P<hex>(?:[0-9A-Fa-f]{2})+)"
    rb"|(?P<whole>-?\d+)|(?:_binary )?'(?P<text>(?:[^'\\]++|\\.|'')*+)')(?P<end>[,)])",
    re.DOTALL,
)
_ESCAPED = re.compile(rb"\\(.)|''", re.DOTALL)
_MEANING = {b"0": b"\0", b"b": b"\b", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"Z": b"\x1a"}

Value = None | int | float | str | bytes


def is_dump(path: Path) -> bool:
    """Return whether a file begins as a dump does."""
    with path.open("rb") as file:
        return _BEGINNING.match(file.read(100)) is not None


def load_dump(path: Path, tables: Collection[str]) -> sqlite3.Connection:
    """Return a database with these tables of a dump, on disk and gone when it is closed; raise ValueError.

    A dump with comments that was cut off between two statements is told by the last comment, which it lacks.
    """
    found = sqlite3.connect("")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(_WITH_COMMENTS, 0, 1000) >= 0 and content.rfind(_COMPLETE) < 0:
                raise ValueError("the dump was cut off: its last line is not 'Dump completed'")
            _load(content, tables, found)
        found.commit()
    except BaseException:
        found.close()
        raise
    return found


def _load(content: mmap.mmap, tables: Collection[str], found: sqlite3.Connection) -> None:
    columns: dict[str, list[str]] = {}
    place = 0
    while statement := _STATEMENT.search(content, place):
        place = statement.end()
        table = (statement["created"] or statement["filled"]).decode()
        if table not in tables:
            continue
        if statement["created"]:
            columns[table] = _columns(content, place - 1)
            _create(found, table, columns[table])
            continue
        if table not in columns:
            raise ValueError(f"byte {statement.start()}: rows of {table} without CREATE TABLE before them")
        names = columns[table]
        if listed := _NAMES.match(content, place):
            place = listed.end()
            names = [name.strip(b" `").decode() for name in listed[1].split(b",")]
        place = _insert(found, table, names, _Rows(content, place, len(names)))


def _columns(content: mmap.mmap, place: int) -> list[str]:
    """Return the names of the columns of a CREATE TABLE, each of which has a line."""
    end = content.find(b"\n)", place)
    return [match[1].decode() for match in _COLUMN.finditer(content, place, end if end >= 0 else len(content))]


def _create(found: sqlite3.Connection, table: str, columns: list[str]) -> None:
    kinds = [f'"{name}" INTEGER PRIMARY KEY' if name == "id" else f'"{name}"' for name in columns]
    found.execute(f'CREATE TABLE "{table}" ({", ".join(kinds)})')
    if table == "jobtag":
        found.execute("CREATE INDEX jobtag_job ON jobtag (job_id)")


def _insert(found: sqlite3.Connection, table: str, names: list[str], rows: "_Rows") -> int:
    """Insert the rows of a statement, and return where it ends."""
    quoted = ", ".join(f'"{name}"' for name in names)
    statement = f'INSERT INTO "{table}" ({quoted}) VALUES ({", ".join("?" * len(names))})'  # noqa: S608  names of \w
    found.executemany(statement, rows)
    return rows.place


class _Rows:
    """The rows of an INSERT, from the word VALUES on; `place` is where reading has come to."""

    def __init__(self, content: mmap.mmap, place: int, length: int) -> None:
        self.content, self.place, self.length = content, place, length

    def __iter__(self) -> Iterator[list[Value]]:
        self._pass(_VALUES, "VALUES")
        while True:
            self._pass(re.compile(rb"\("), "(")
            row = list(self._row())
            if len(row) != self.length:
                raise ValueError(f"byte {self.place}: a row of {len(row)} values, expected {self.length}")
            yield row
            if self._pass(re.compile(rb"\s*([,;])\s*"), ", or ; after a row")[1] == b";":
                return

    def _pass(self, pattern: re.Pattern[bytes], expected: str) -> re.Match[bytes]:
        match = pattern.match(self.content, self.place)
        if match is None:
            raise ValueError(f"byte {self.place}: expected {expected}")
        self.place = match.end()
        return match

    def _row(self) -> Iterator[Value]:
        while True:
            match = self._pass(_VALUE, "NULL, a number or a string, and a comma or ) after it")
            yield _value(match)
            if match["end"] == b")":
                return


def _value(match: re.Match[bytes]) -> Value:
    if match["null"]:
        return None
    if match["whole"]:
        return int(match["whole"])
    if match["real"]:
        return float(match["real"])
    raw = bytes.fromhex(match["hex"].decode()) if match["hex"] else _ESCAPED.sub(_unescaped, match["text"])
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _unescaped(match: re.Match[bytes]) -> bytes:
    return b"'" if match[1] is None else _MEANING.get(match[1], match[1])
