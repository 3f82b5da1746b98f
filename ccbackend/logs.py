"""The log: one line per event, as text or JSON, with the id of its request; and nothing floods it.

What clients choose is escaped and bounded, in error answers too.
"""

import json
import logging
import os
import threading
import time
from datetime import UTC, datetime
from itertools import count
from typing import Any

MOST = 2_000
"""Characters of a log line or an error message."""

_MOST_LINES = 200  # of a traceback


def shown(text: str, most: int = MOST) -> str:
    """Return a text as one line: unprintable characters as `\\n`, `\\x1b`; of a longer one, begin and end.

    The end of a message usually has the reason, after a name that may be long.
    """
    if len(text) > most:
        end = most // 4
        text = f"{text[: most - end]}… ({len(text):,} characters) …{text[len(text) - end :]}"
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


REQUEST_ID = "ccbackend.request_id"
"""The key of a request's id in its environment; the answer has it in X-Request-ID."""


class RequestIds:
    """Ids that no other process gives: a random part, and a number."""

    def __init__(self) -> None:
        """Begin."""
        self.renew()
        os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        """Begin anew, for a new process."""
        self._part, self._numbers = os.urandom(6).hex(), count(1)

    def next(self) -> str:
        """Return another id."""
        return f"{self._part}-{next(self._numbers):x}"


def _message_of(record: logging.LogRecord) -> str:
    left_out: int = getattr(record, "left_out", 0)
    return shown(record.getMessage()) + (f" ({left_out:,} more such lines were left out)" if left_out else "")


def _request_of(record: logging.LogRecord) -> str:
    """Return the id of the request that a record is about, if it names one, as Django's do."""
    meta = getattr(getattr(record, "request", None), "META", {})
    return str(meta.get(REQUEST_ID, ""))


class LineFormatter(logging.Formatter):
    """A formatter whose records are one line each; tracebacks follow indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line; after the logger's name comes the id of the request, if there is one."""
        record.message = _message_of(record)
        request = _request_of(record)
        record.place = f"{record.name} {request}" if request else record.name
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:
        """Return a traceback, of which no line can be taken for one of the log."""
        lines = super().formatException(ei).splitlines()  # type: ignore[arg-type]  # typeshed's name is private
        if len(lines) > _MOST_LINES:
            lines[_MOST_LINES // 2 : -_MOST_LINES // 2] = ["..."]
        return "\n".join(f"    {shown(line)}" for line in lines)


class JsonFormatter(LineFormatter):
    """A formatter whose records are one JSON object in one line each.

    Its keys: time, level, logger, message; request (id) and traceback where there are any; and those of `fields` that
    the record has, such as the status, address, user and token of a refused call.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        found: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _message_of(record),
        }
        if request := _request_of(record):
            found["request"] = request
        for name, value in getattr(record, "fields", {}).items():
            found[name] = shown(value) if isinstance(value, str) else value
        if record.exc_info:
            found["traceback"] = self.formatException(record.exc_info)
        return json.dumps(found, ensure_ascii=False)


class Seldom(logging.Filter):
    """A filter of records that have `seldom`, a key and a number of seconds: within these, one with the key passes.

    The next one that passes says how many did not.
    """

    def __init__(self) -> None:
        """Remember nothing yet."""
        super().__init__()
        self._lock = threading.Lock()
        self._passed: dict[str, float] = {}
        self._held: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record passes."""
        if not hasattr(record, "seldom"):
            return True
        key, seconds = record.seldom
        with self._lock:
            now = time.monotonic()
            if now - self._passed.get(key, float("-inf")) < seconds:
                self._held[key] = self._held.get(key, 0) + 1
                return False
            self._passed[key] = now
            held = self._held.pop(key, 0)
        record.left_out = held
        return True


FORMATS = ("text", "json")


def formatter(form: str) -> logging.Formatter:
    """Return the formatter for one of FORMATS, the first for any other."""
    return JsonFormatter() if form == "json" else LineFormatter("%(asctime)s %(levelname)s %(place)s: %(message)s")


def configuration(form: str, level: str) -> dict[str, Any]:
    """Return the configuration of logging for one of FORMATS."""
    stderr = {"class": "logging.StreamHandler", "formatter": "line", "filters": ["seldom"]}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "ccbackend.logs.formatter", "form": form}},
        "filters": {"seldom": {"()": "ccbackend.logs.Seldom"}},
        "handlers": {"stderr": stderr},
        "root": {"handlers": ["stderr"], "level": level},
    }
