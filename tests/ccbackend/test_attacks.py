"""What a client without an account, or with one that is not trusted, tries at the server's door."""

import io
import runpy
from pathlib import Path
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import get_parser
from gunicorn.http.wsgi import create

from accounts.models import User
from ccbackend.fastpath.handler import FastHandler, Handler
from tests.support.clients import AppClient
from tests.support.factories import token_for
from tests.support.paths import PROJECT

pytestmark = pytest.mark.django_db

HANDLERS = [FastHandler, Handler]
BOUNDARY = "of-this-test"


def form_with_file(size: int) -> bytes:
    """Return a form with a field and a file of this size."""
    head = '--{0}\r\nContent-Disposition: form-data; name="{1}"{2}\r\n\r\n'
    field = head.format(BOUNDARY, "username", "") + "eve\r\n"
    file = head.format(BOUNDARY, "file", '; filename="large"\r\nContent-Type: text/plain')
    return (field + file).encode() + b"x" * size + f"\r\n--{BOUNDARY}--\r\n".encode()


@pytest.mark.parametrize(
    ("path", "authenticated"),
    [("/admin/login/", False), ("/admin/jobs/job/", False), ("/api/users/", True), ("/api/jobs/start_job/", False)],
)
def test_a_file_is_refused_and_kept_nowhere(
    archive_root: Any, admin: User, settings: Any, tmp_path: Path, path: str, authenticated: bool
) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    client = AppClient(FastHandler(), token_for(admin) if authenticated else None)
    body, kind = form_with_file(9_000_000), f"multipart/form-data; boundary={BOUNDARY}"
    sent = io.BytesIO(body)
    client.environ |= {"wsgi.input": sent, "CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": kind}
    client.environ["HTTP_COOKIE"] = f"csrftoken={'a' * 32}"  # its form field is looked for
    client.environ["HTTP_HOST"] = "localhost"

    answer = client.send("POST", path, None, {})

    assert answer.status in (400, 401)
    assert sent.tell() < 1_000_000
    assert list(tmp_path.glob("*.upload*")) == []


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("path", ["/api/jobs/", "/api/nope", "/api/users/"])
def test_a_call_with_a_token_needs_an_allowed_host(
    archive_root: Any, admin: User, handler: type[Handler], path: str
) -> None:
    client, headers = AppClient(handler(), token_for(admin)), {"X-Auth-Token": token_for(admin)}
    for host in ("localhost", "127.0.0.1:8080", "localhost"):
        assert client.send("GET", path, None, headers | {"Host": host}).status in (200, 404)
        for wrong in ("attacker.example", f"{host}.attacker.example:8080", f"{host}:x"):
            answer = client.send("GET", path, None, headers | {"Host": wrong})
            assert (answer.status, "HTTP_HOST" in answer.error) == (400, True), wrong


def test_the_hosts_that_are_remembered_are_few(archive_root: Any, admin: User) -> None:
    handler = FastHandler()
    client = AppClient(handler, token_for(admin))
    for port in range(300):
        assert client.get("/api/nope", headers={"Host": f"localhost:{port}"}).status == 404
    assert len(handler._hosts) <= 100


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    "path", ["/", "/api/jobs/", "/api/schema/", "/api/nope", "/admin/login/", "/static/x", "/nope"]
)
def test_no_browser_guesses_the_type_of_an_answer(
    archive_root: Any, admin: User, handler: type[Handler], method: str, path: str
) -> None:
    for token in (None, "unknown", token_for(admin)):
        answer = AppClient(handler(), token).send(method, path, None, {"X-Auth-Token": token} if token else {})
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("header", ["SCRIPT_NAME", "PATH_INFO", "Script-Name", "X_Forwarded_Proto"])
def test_a_header_does_not_change_the_path(header: str) -> None:
    cfg = Config()
    for name, value in runpy.run_path(str(PROJECT / "gunicorn.conf.py")).items():
        if name in cfg.settings:
            cfg.set(name, value)
    raw = f"GET /admin/login/ HTTP/1.1\r\nHost: localhost\r\n{header}: /admin\r\n\r\n".encode()
    request = next(get_parser(cfg, [raw], ("127.0.0.1", 1)))
    _, environ = create(request, None, ("127.0.0.1", 1), ("127.0.0.1", 2), cfg)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", "/admin/login/")
    assert environ["wsgi.url_scheme"] == "http"
