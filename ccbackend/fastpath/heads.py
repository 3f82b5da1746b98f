"""Requests as gunicorn parses them, each head once: a client sends the same head again and again.

Parsing a head takes a third as long as a whole stop_job. Only the end of the head and its length are looked for here;
every head is accepted or refused by gunicorn's own parser before it is remembered.
"""

import copy
import io
import re
from typing import Any

from gunicorn.http import get_parser, wsgi
from gunicorn.http.body import LengthReader

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,8})[ \t]*\r\n", re.IGNORECASE)
_MOST = 256  # remembered heads
_LARGEST = 4096  # bytes of a head that is remembered


class Content(io.BytesIO):
    """The body of a request, with what else the worker tells the application."""

    head: dict[str, Any]
    """The WSGI environment of a request with this head; port and length are those of the first."""

    answered: Any = None
    """The call if it was carried out together with others, see `FastHandler.carry_out`."""

    pages: dict[str, bytes] | None = None
    """Pages of jobs by their query strings, which the calls of a turn share."""


class Heads:
    """The heads that one process has parsed, by the client's address and their bytes but for the length's digits."""

    def __init__(self, cfg: Any) -> None:
        """Remember gunicorn's settings."""
        self._cfg = cfg
        self._parsed: dict[tuple[Any, bytes, bytes], Any] = {}

    def request(self, received: bytes, client: Any) -> Any:
        """Return gunicorn's request; None unless `received` is a whole request, nothing else, with a plain body.

        Its body is a Content. `client` is the peer's address, on which gunicorn's trust in some headers depends. Raises
        what gunicorn's parser raises.
        """
        end = received.find(_END) + len(_END)
        found = _LENGTH.search(received, 0, end)
        length = int(found[1]) if found else 0
        if end < len(_END) or len(received) != end + length:
            return None
        begin, rest = found.span(1) if found else (end, end)
        key = (client[0] if isinstance(client, tuple) else client, received[:begin], received[rest:end])
        parsed = self._parsed.get(key)
        if parsed is None:
            parsed = self._parse(received, client, length)
            if parsed is None:
                return None
            if end <= _LARGEST:
                if len(self._parsed) >= _MOST:
                    self._parsed.clear()
                self._parsed[key] = parsed
        request = copy.copy(parsed)
        request.body = Content(received[end:])
        request.body.head = parsed.body.head
        request.peer_addr = request.remote_addr = client
        request.headers = [
            (name, str(length)) if name == "CONTENT-LENGTH" else (name, value) for name, value in parsed.headers
        ]
        return request

    def _parse(self, received: bytes, client: Any, length: int) -> Any:
        """Return the request if gunicorn finds the same end of the head and the same length, else None."""
        parser = get_parser(self._cfg, [received], client)
        request = next(parser)
        reader, body = request.body.reader, parser.unreader.buf.getvalue()
        is_plain = type(reader) is LengthReader and reader.length == length == len(body)
        if not is_plain or request._expected_100_continue:
            return None
        request.body = Content()
        request.body.head = wsgi.create(request, None, client, ("", ""), self._cfg)[1]
        return request
