"""ccbackend.fastpath.connection: how much of a request has arrived."""

import pytest

from ccbackend.fastpath.connection import LARGEST, Arrival, arrival_of

HEAD = b"POST /admin/login/ HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("received", "arrival"),
    [
        (b"G", Arrival.PART),
        (HEAD, Arrival.PART),
        (HEAD + b"\r\n", Arrival.WHOLE),
        (HEAD + b"Content-Length: 2\r\n\r\n", Arrival.PART),
        (HEAD + b"content-length:2 \r\n\r\na", Arrival.PART),
        (HEAD + b"Content-Length: 2\r\n\r\nab", Arrival.WHOLE),
        (HEAD + b"Content-Length: 2\r\n\r\nabGET", Arrival.WHOLE),
        (HEAD + b"X: y\r\nContent-Length: %d\r\n\r\n" % LARGEST, Arrival.LARGE),
        (HEAD + b"Content-Length: 999999999999\r\n\r\n", Arrival.WHOLE),  # no length that this server takes: gunicorn's
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", Arrival.LARGE),
        (HEAD + b"expect: 100-continue\r\nContent-Length: 2\r\n\r\n", Arrival.LARGE),
        (b"x" * (LARGEST - 1), Arrival.PART),
        (b"x" * LARGEST, Arrival.LARGE),
    ],
)
def test_the_end_of_a_request_is_found(received: bytes, arrival: Arrival) -> None:
    assert arrival_of(received) is arrival
