"""Answers to requests that gunicorn's parser refuses: in JSON, and without any part of them.

gunicorn's own answer is HTML and repeats the line that it cannot read, in its log too: that line may have a token.
"""

import json
import re
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors

_STATUS = {
    errors.LimitRequestLine: (HTTPStatus.REQUEST_URI_TOO_LONG, "request line too long: expected at most {line} bytes"),
    errors.LimitRequestHeaders: (
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "headers too large: expected at most {fields} of {field} bytes each",
    ),
    errors.ExpectationFailed: (HTTPStatus.EXPECTATION_FAILED, "expected no Expect but 100-continue"),
    errors.UnsupportedTransferCoding: (HTTPStatus.NOT_IMPLEMENTED, "expected no Transfer-Encoding but chunked"),
}
_OF_OTHERS = (
    errors.ConfigurationProblem,
    errors.ForbiddenProxyRequest,
    errors.InvalidResponseHeader,
    errors.InvalidResponseHeaderName,
)


def refusal(error: Exception, cfg: Any) -> tuple[HTTPStatus, str] | None:
    """Return the status and the message for an error of the parser; None if the request is not to blame.

    `cfg` has gunicorn's settings.
    """
    if not isinstance(error, errors.ParseException) or isinstance(error, _OF_OTHERS):
        return None
    for kind, (status, message) in _STATUS.items():
        if isinstance(error, kind):
            limits = {"line": cfg.limit_request_line, "field": cfg.limit_request_field_size}
            return status, message.format(fields=cfg.limit_request_fields, **limits)
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
    return HTTPStatus.BAD_REQUEST, f"the request cannot be read: {words}"


def answer(status: HTTPStatus, message: str) -> bytes:
    """Return an HTTP answer with an error as docs/api.md describes it; the connection is closed after it."""
    body = json.dumps({"status": status.phrase, "error": message}) + "\n"
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n"
    head += "X-Content-Type-Options: nosniff\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
