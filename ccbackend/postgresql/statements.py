"""The statements of short calls, sent together straight through libpq (psycopg.pq).

Django's and psycopg's cursors take ten times the CPU of that for a statement, which was half of a stop's; see
docs/performance.md.
"""

import re
import secrets
import select
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import count
from typing import Any

from psycopg import DataError, Error, OperationalError
from psycopg.errors import FeatureNotSupported, InvalidSqlStatementName, error_from_result
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn, PGresult

_MOST_PREPARED = 100
_MOST_COUNTED = 1000

# Types by their OIDs in PostgreSQL's catalogue; of a text it finds out the type by itself.
_INT8, _NUMERIC, _UNKNOWN = 20, 1700, 0
_READ: dict[int, Callable[[bytes], Any]] = {
    **dict.fromkeys((20, 21, 23), int),
    **dict.fromkeys((25, 114, 1043), bytes.decode),
}

_Key = tuple[str, tuple[int, ...]]  # a statement and the types of its parameters

_FAILED = (ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE)


class Statements:
    """Statements on one connection, which nothing else may be using; those that come often are prepared.

    `threshold` is after how many uses, None for never, as psycopg's prepare_threshold.
    """

    def __init__(self, pgconn: PGconn, threshold: int | None) -> None:
        """Prepare nothing yet."""
        self.pgconn = pgconn
        self._threshold = threshold
        self._uses: dict[_Key, int] = {}
        self._names: dict[_Key, bytes] = {}
        self._poll = select.poll()

    def run(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[tuple[Any, ...]]:
        """Run statements in one round trip, a transaction of their own; return the rows of the last one.

        Placeholders are %s, parameters integers, texts and None. Raise psycopg's errors.
        """
        try:
            return self._run(statements)
        except (InvalidSqlStatementName, FeatureNotSupported):
            # A pooler in between does not keep what was prepared, somebody let PostgreSQL forget it (DISCARD ALL), or a
            # migration has changed what a statement returns. Nothing was done, and nothing is prepared here any more.
            self._names.clear()
            self._threshold = None
            return self._run(statements)

    def _run(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[tuple[Any, ...]]:
        values = [[_as_text(value) for value in parameters] for _, parameters in statements]
        keys = [(sql, tuple(map(_type, parameters))) for sql, parameters in statements]
        prepared: list[_Key | None] = []  # by each message that is sent
        new: dict[_Key, bytes] = {}
        self.pgconn.enter_pipeline_mode()
        try:
            for key, value in zip(keys, values, strict=True):
                name = self._names.get(key)
                if name is None and self._is_frequent(key):
                    # In the same transaction, where the wait for a lock is bounded: parsing takes one too.
                    # The name is no other connection's, whose statement a pooler that mixes them up would run instead.
                    name = new[key] = f"ccbackend_{secrets.token_hex(12)}".encode()
                    self.pgconn.send_prepare(name, _numbered(key[0]), key[1])
                    prepared.append(key)
                if name is None:
                    self.pgconn.send_query_params(_numbered(key[0]), value, param_types=key[1])
                else:
                    self.pgconn.send_query_prepared(name, value)
                prepared.append(None)
            self.pgconn.pipeline_sync()
            results = self._results()
        finally:
            self._leave_pipeline()
        return self._rows(results, prepared, new)

    def _is_frequent(self, key: _Key) -> bool:
        """Count a use of a statement that is not prepared, and return whether it should be."""
        if self._threshold is None or len(self._names) >= _MOST_PREPARED:
            return False
        if len(self._uses) > _MOST_COUNTED:
            self._uses.clear()
        uses = self._uses[key] = self._uses.get(key, 0) + 1
        return uses > self._threshold

    def _rows(
        self, results: Sequence[PGresult], prepared: Sequence[_Key | None], new: Mapping[_Key, bytes]
    ) -> list[tuple[Any, ...]]:
        """Remember what was prepared, even if what followed failed; return the rows of the last result."""
        for key, result in zip(prepared, results, strict=True):
            if result.status in _FAILED:
                raise error_from_result(result)
            if key is not None:
                self._names[key] = new[key]
        return _rows(results[-1])

    def _results(self) -> list[PGresult]:
        """Return a result per statement; wait for them without holding the interpreter."""
        self._poll.register(self.pgconn.socket, select.POLLIN | select.POLLOUT)
        while self.pgconn.flush():
            self._poll.poll()
            self.pgconn.consume_input()
        self._poll.modify(self.pgconn.socket, select.POLLIN)
        results: list[PGresult] = []
        while True:
            while self.pgconn.is_busy():
                self._poll.poll()
                self.pgconn.consume_input()
            result = self.pgconn.get_result()
            if result is None:  # the end of a statement's results
                if self.pgconn.status == ConnStatus.BAD:
                    raise OperationalError(self.pgconn.get_error_message())
                continue
            if result.status == ExecStatus.PIPELINE_SYNC:
                return results
            results.append(result)

    def _leave_pipeline(self) -> None:
        """Let the connection be used as usual again, or end it if it was left in the middle."""
        try:
            self.pgconn.exit_pipeline_mode()
        except Error:
            self.pgconn.finish()


@lru_cache(maxsize=512)
def _numbered(sql: str) -> bytes:
    """Return a statement with PostgreSQL's own placeholders."""
    numbers = count(1)
    return re.sub("%[%s]", lambda found: "%" if found[0] == "%%" else f"${next(numbers)}", sql).encode()


def _as_text(value: Any) -> bytes | None:
    if value is None:
        return None
    text = str(value).encode()
    if b"\0" in text:
        raise DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return text


def _type(value: Any) -> int:
    if isinstance(value, int):
        return _INT8 if -(2**63) <= value < 2**63 else _NUMERIC
    return _UNKNOWN


def _rows(result: PGresult) -> list[tuple[Any, ...]]:
    read = [_READ[result.ftype(column)] for column in range(result.nfields)]
    return [
        tuple(
            None if (value := result.get_value(row, column)) is None else convert(value)
            for column, convert in enumerate(read)
        )
        for row in range(result.ntuples)
    ]
