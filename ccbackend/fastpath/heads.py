"""Requests as gunicorn parses them, each head once: a client sends the same head again and again.

Parsing a head takes a third as long as a whole stop_job. Only the end of the head and its length are looked for here;
every head is accepted or refused by gunicorn's own parser before it is remembered.
"""

import copy
import re
from typing import Any

from gunicorn.http import get_parser
from gunicorn.http.body import Body, LengthReader
from gunicorn.http.unreader import IterUnreader

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,8})[ \t]*\r\n", re.IGNORECASE)
_MOST = 256  # remembered heads
_LARGEST = 4096  # bytes of a head that is remembered


class Heads:
    """The heads that one process has parsed, by the client's address and their bytes but for the length's digits."""

    def __init__(self, cfg: Any) -> None:
        """Remember gunicorn's settings."""
        self._cfg = cfg
        self._parsed: dict[tuple[Any, bytes, bytes], Any] = {}

    def request(self, received: bytes, client: Any) -> Any:
        """Return gunicorn's request; None unless `received` is a whole request, nothing else, with a plain body.

        `client` is the peer's address, on which gunicorn's trust in some headers depends. Raises what gunicorn's parser
        raises.
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
        request.peer_addr = request.remote_addr = client
        request.headers = [
            (name, str(length)) if name == "CONTENT-LENGTH" else (name, value) for name, value in parsed.headers
        ]
        request.body = Body(LengthReader(IterUnreader([received[end:]]), length))
        return request

    def _parse(self, received: bytes, client: Any, length: int) -> Any:
        """Return the request if gunicorn finds the same end of the head and the same length, else None."""
        parser = get_parser(self._cfg, [received], client)
        request = next(parser)
        reader, body = request.body.reader, parser.unreader.buf.getvalue()
        is_plain = type(reader) is LengthReader and reader.length == length == len(body)
        return request if is_plain and not request._expected_100_continue else None
