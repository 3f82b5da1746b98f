"""The common parts of metric stores over HTTP: configuration, connections, limits, errors without secrets."""

import base64
import math
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
from django.conf import settings

from archive.exceptions import SourceError
from archive.sources.base import JobInfo

MAX_POINTS = 64 * 1024 * 1024
"""Samples of one job in memory, at 8 bytes each."""

MAX_TIMEOUTS = 10
"""Timeouts that a whole response may take, even if it makes progress."""

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Exceptions that decoding an unexpected response raises."""

_LIMITS = httpx.Limits(max_connections=16, max_keepalive_connections=8, keepalive_expiry=5)
_PERMANENT = frozenset({400, 413, 414, 422})
_REFUSAL_BYTES = 16 * 1024
_REASON_LENGTH = 200


class _Refusal(msgspec.Struct, rename="camel"):
    """The body of an error response, if it is JSON."""

    error: str
    error_type: str = ""


_REFUSAL = msgspec.json.Decoder(_Refusal)


_METHOD_REFUSED = (httpx.codes.METHOD_NOT_ALLOWED, httpx.codes.NOT_IMPLEMENTED)


class HttpStore:
    """A store at one URL; threads share its pool of connections."""

    def __init__(
        self, url: str, options: Mapping[str, Any], headers: Mapping[str, str], methods: Sequence[str] = ("POST",)
    ) -> None:
        """Create the pool of connections.

        `options` is the entry in METRIC_SOURCES; its `timeout` (seconds) defaults to METRIC_TIMEOUT. Without a `method`
        in it, `methods` are tried, the usual one first.
        """
        self.url = url
        self._methods = [options["method"]] if "method" in options else list(methods)
        self.method: str = self._methods[0]
        self._timeout: float | None = options.get("timeout")
        login = ""
        if "username" in options:
            login = base64.b64encode(f"{options['username']}:{options['password']}".encode()).decode()
        self._secrets = [secret for secret in (options.get("token"), options.get("password"), login) if secret]
        sent = {"Accept-Encoding": "identity", **headers}
        if self._secrets:
            sent["Authorization"] = f"Basic {login}" if login else f"Bearer {options['token']}"
        # Ignore proxies of the environment, because a store is in the cluster's own network. Trust the authorities of
        # the system instead of a bundled list, to include those of the computing centre.
        self._client = httpx.Client(headers=sent, limits=_LIMITS, trust_env=False, verify=ssl.create_default_context())

    def ask(self, limit: int, **request: Any) -> bytearray:
        """Send a request (httpx's `params`, `content`, `data`); return the body, of at most `limit` bytes.

        The `data` of a form become `params` with GET. If the store refuses the method, try the others and remember the
        one that it accepts. Raise SourceError.
        """
        method = self.method
        response, body = self._send(method, limit, request)
        for other in self._methods if response.status_code in _METHOD_REFUSED else ():
            if other != method:
                again, text = self._send(other, limit, request)
                if again.status_code not in _METHOD_REFUSED:
                    self.method, response, body = other, again, text
        if response.status_code != httpx.codes.OK:
            raise self._refused(response, body)
        return body

    def _send(self, method: str, limit: int, request: Mapping[str, Any]) -> tuple[httpx.Response, bytearray]:
        """Return the response and its body, of at most `limit` bytes; the body of an error may be cut."""
        timeout = self._timeout or settings.METRIC_TIMEOUT
        deadline = time.monotonic() + timeout * MAX_TIMEOUTS
        body = bytearray()
        if method == "GET" and "data" in request:
            request = {"params" if name == "data" else name: value for name, value in request.items()}
        try:
            with self._client.stream(method, self.url, timeout=timeout, **request) as response:
                good = response.status_code == httpx.codes.OK
                for chunk in response.iter_bytes():
                    body += chunk
                    if not good and len(body) > _REFUSAL_BYTES:
                        break
                    if len(body) > limit:
                        raise self.too_many_points(f"the answer is larger than {limit} bytes")
                    if time.monotonic() > deadline:
                        raise self._failed(f"no whole answer within {timeout * MAX_TIMEOUTS:g} s")
        except httpx.TimeoutException as error:
            raise self._failed(f"no answer within {timeout:g} s ({type(error).__name__})") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise self._failed(f"{error or type(error).__name__}") from error
        return response, body

    def error(self, reason: str, *, transient: bool) -> SourceError:
        """Return an error that concerns one job, with the store and the reason, without secrets."""
        return SourceError(f"{self.url}: {self.without_secrets(reason)}", transient=transient)

    def _failed(self, reason: str) -> SourceError:
        """Return the error for a store without a complete response."""
        return SourceError(f"{self.url}: {self.without_secrets(reason)}", transient=True, source_failed=True)

    def unexpected(self, reason: object) -> SourceError:
        """Return the error for a response of unexpected form, which concerns one job only."""
        return self.error(f"the answer is not what was expected: {reason}", transient=True)

    def too_many_points(self, reason: str) -> SourceError:
        """Return the error for a job that exceeds the limits."""
        return self.error(f"too many points for one job: {reason}", transient=False)

    def not_asked(self, job: JobInfo) -> SourceError:
        """Return the error for a job of a cluster without a valid cluster.json, until there is one."""
        reason = f"cluster {job.cluster!r} is unknown: its cluster.json is missing or cannot be read"
        return SourceError(f"{self.url} was not asked: {reason}", transient=True, source_failed=True)

    def _refused(self, response: httpx.Response, body: bytearray) -> SourceError:
        """Return the error for a status other than 200; permanent if it concerns this request only."""
        status = response.status_code
        try:
            refusal = _REFUSAL.decode(body)
            text = self.without_secrets(f"{refusal.error_type}: {refusal.error}".removeprefix(": "))
        except NOT_JSON:
            text = self.without_secrets(body.decode(errors="replace"))
            if len(body) > _REFUSAL_BYTES:  # it may be cut within a secret
                text = text[: -max(map(len, self._secrets), default=1)]
        text = " ".join(text[:_REASON_LENGTH].split())
        said = f": {text}" if text else ""
        reason = f"answered {status} {response.reason_phrase}{said}"
        return self.error(reason, transient=False) if status in _PERMANENT else self._failed(reason)

    def without_secrets(self, text: str) -> str:
        """Return a text with secrets, which a store may have repeated, masked."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def connection_errors(options: Mapping[str, Any]) -> list[str]:
    """Return a message for each error in the keys of an entry that `HttpStore` reads, without secrets."""
    messages = _url_errors(options.get("url"))
    token = options.get("token", "x")
    if not (isinstance(token, str) and token and token.isascii() and token.isprintable() and " " not in token):
        messages.append("token: expected a text of printable ASCII characters without spaces")
    messages += _login_errors(options)
    method = options.get("method", "POST")
    if method not in ("POST", "GET"):
        messages.append(f'method {method!r}: expected "POST" or "GET"')
    timeout = options.get("timeout", 1)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < math.inf:
        messages.append(f"timeout {timeout!r}: expected seconds, above zero")
    return messages


def _login_errors(options: Mapping[str, Any]) -> list[str]:
    """Return the errors of user name and password."""
    login = [options[key] for key in ("username", "password") if key in options]
    if login and ("token" in options or len(login) == 1):
        return ["username, password: expected both of them and no token"]
    good = all(isinstance(text, str) and text and text.isprintable() for text in login)
    if not good or (login and ":" in login[0]):
        return ["username, password: expected texts of printable characters, the first without a colon"]
    return []


def _url_errors(url: object) -> list[str]:
    """Return the errors of the URL."""
    expected = "expected an address such as http://metrics.example.org:8082"
    if not isinstance(url, str):
        return [f"url {'None' if url is None else 'of another type'}: {expected}"]
    try:
        parts = urlsplit(url)
        httpx.URL(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except (ValueError, httpx.InvalidURL):
        return [f"url: {expected}"]
    if "@" in parts.netloc:
        return [f"url: {expected}, without user name and password"]
    if not good or parts.query or parts.fragment or url != url.strip():
        return [f"url: {expected}, without query and fragment"]  # which may have a token
    return []
