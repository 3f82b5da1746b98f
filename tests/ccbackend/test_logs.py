"""What a client sends enters a log line or an error message escaped and bounded."""

import ast
import contextlib
import io
import json
import logging
import logging.config
import os
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from django.conf import settings
from django.db import OperationalError, ProgrammingError, connection
from django.test import Client
from gunicorn.config import Config

from accounts.models import ApiToken, User
from ccbackend import logs
from ccbackend.logs import MOST, RequestIds, Seldom, formatter, shown
from jobs.archiving import trouble
from jobs.exceptions import NOT_MIGRATED
from tests.support.clients import AppClient
from tests.support.factories import START
from tests.support.paths import PROJECT

FORGED = "2026-01-01 00:00:00,000 ERROR ccbackend.api: forged"


@contextlib.contextmanager
def written(form: str) -> Iterator[io.StringIO]:
    """Give what the server would have written to stderr."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(formatter(form))
    handler.addFilter(Seldom())
    logging.getLogger().addHandler(handler)
    try:
        yield text
    finally:
        logging.getLogger().removeHandler(handler)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Return what the server would have written to stderr."""
    with written("text") as text:
        yield text


def lines_as_json(text: io.StringIO) -> list[dict[str, Any]]:
    """Return the lines of a log in JSON."""
    return [json.loads(line) for line in text.getvalue().splitlines()]


@pytest.mark.parametrize("path", ["/api/", "/"])
@pytest.mark.parametrize("line_break", ["%0a", "%0d", "%0b", "%c2%85", "%e2%80%a8"])
def test_a_path_cannot_forge_a_log_line(anonymous: AppClient, log: io.StringIO, path: str, line_break: str) -> None:
    Client().get(f"{path}x{line_break}{FORGED}")
    anonymous.as_("unknown").get(f"{path}x{line_break}{FORGED.replace(' ', '%20')}")

    lines = log.getvalue().splitlines()
    assert any("forged" in line for line in lines)
    assert not any(line.startswith(FORGED) for line in lines)
    assert all(re.match(r"\d{4}-\d\d-\d\d ", line) for line in lines)


def test_names_of_megabytes_are_cut_in_answer_and_log(api: AppClient, log: io.StringIO) -> None:
    name = "x\n" * 2_000_000
    job = {"jobId": 1, "cluster": name, "user": "ada", "startTime": START, "resources": [{"hostname": "n1"}]}

    answers = [
        api.post("/api/jobs/start_job/", job),
        api.post("/api/jobs/start_job/", job | {"cluster": "c", "jobId": name}),
        api.post("/api/jobs/stop_job/", {"jobId": 1, "cluster": name, "stopTime": START + 9}),
        api.post("/api/jobs/tag_job/1", [{"type": name, "name": name}]),
    ]

    assert all(400 <= answer.status < 500 for answer in answers)
    assert all(len(answer.body) < 4 * MOST for answer in answers)
    lines = log.getvalue().splitlines()
    assert len(lines) == len(answers)
    assert all(len(line) < 2 * MOST for line in lines)


def test_an_error_in_a_traceback_cannot_forge_a_log_line(log: io.StringIO) -> None:
    try:
        raise ValueError(f"bad\n{FORGED}\n{'x' * 10_000_000}")
    except ValueError:
        logging.getLogger("ccbackend.api").exception("failed")
    lines = log.getvalue().splitlines()
    assert all(line.startswith("    ") for line in lines[1:])
    assert "Traceback" in lines[1]
    assert len(log.getvalue()) < 3 * MOST


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain, ünd 漢字", "plain, ünd 漢字"),
        ("a\nb\tc\x1b[31m\x7f\x85\u2028\u202e\udc80", r"a\nb\tc\x1b[31m\x7f\x85\u2028\u202e\udc80"),
        ("x" * 5, "xxxxx"),
        ("x" * 1_000, "xxxx… (1,000 characters) …x"),
    ],
)
def test_what_cannot_be_printed_is_escaped_and_what_is_long_is_cut(text: str, line: str) -> None:
    assert shown(text, most=5 if set(text) == {"x"} else MOST) == line


def test_the_settings_write_text_or_json_to_stderr_and_leave_out_repetitions() -> None:
    for form, kind in (("text", logs.LineFormatter), ("json", logs.JsonFormatter)):
        found = logging.config.DictConfigurator(logs.configuration(form, "INFO"))
        assert type(found.configure_formatter(found.config["formatters"]["line"])) is kind
    handler: Any = settings.LOGGING["handlers"]["stderr"]
    assert handler["filters"] == ["seldom"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_refusal_names_token_user_and_request(api: AppClient, bench: User, settings: Any, form: str) -> None:
    with written(form) as text:
        answer = api.post("/api/jobs/tag_job/4711", [])
        revoked, secret = ApiToken.issue(user=bench)
        revoked.revoke()
        other = api.post("/api/jobs/tag_job/4711", [], token=secret)
    first, second = text.getvalue().splitlines()
    own, its = answer.headers["x-request-id"], other.headers["x-request-id"]
    assert own != its
    prefix = (api.token or "")[:12]
    if form == "text":
        assert (
            f"WARNING ccbackend.api {own}: POST /api/jobs/tag_job/4711 404 from 127.0.0.1 as bench with {prefix}: "
            in first
        )
        assert (
            f" {its}: POST /api/jobs/tag_job/4711 401 from 127.0.0.1 as - with {revoked.prefix}: token revoked"
            in second
        )
        return
    found = json.loads(first)
    assert found.pop("time").startswith("20")
    message = found.pop("message")
    assert message.endswith("no job with database id 4711")
    assert found == {
        "level": "WARNING",
        "logger": "ccbackend.api",
        "request": own,
        "method": "POST",
        "path": "/api/jobs/tag_job/4711",
        "status": 404,
        "address": "127.0.0.1",
        "user": "bench",
        "token": prefix,
    }
    assert json.loads(second)["token"] == revoked.prefix


def test_a_log_in_json_has_tracebacks_and_cannot_be_forged() -> None:
    with written("json") as text:
        try:
            raise ValueError('bad\n{"level": "INFO"}')
        except ValueError:
            logging.getLogger("x").exception("failed: %s", 'a"\nb\ud800')
    (line,) = lines_as_json(text)
    assert line["message"] == r'failed: a"\nb\ud800'
    assert "Traceback" in line["traceback"]
    assert "ValueError: bad" in line["traceback"]
    assert "request" not in line


@pytest.mark.parametrize("path", ["/api/jobs/", "/admin/login/", "/healthz"])
def test_every_answer_has_an_id_of_its_own(anonymous: AppClient, api: AppClient, path: str) -> None:
    ids = {client.get(path).headers["x-request-id"] for client in (anonymous, api) for _ in range(3)}
    assert len(ids) == 6
    assert all(re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", each) for each in ids)


@pytest.mark.parametrize(
    ("proxies", "sent", "is_taken"),
    [
        (["127.0.0.1"], "3f9a.B_7-1", True),
        ([], "3f9a.B_7-1", False),
        (["192.0.2.1"], "3f9a.B_7-1", False),
        (["127.0.0.1"], "a b", False),
        (["127.0.0.1"], "x" * 65, False),
        (["127.0.0.1"], "", False),
    ],
)
def test_an_id_of_a_trusted_proxy_is_taken_if_it_is_harmless(
    api: AppClient, settings: Any, proxies: list[str], sent: str, is_taken: bool
) -> None:
    settings.TRUSTED_PROXIES = proxies
    answer = api.get("/api/jobs/0", headers={"X-Request-ID": sent})
    assert (answer.headers["x-request-id"] == sent) is is_taken


def test_a_forked_process_gives_other_ids() -> None:
    ids = RequestIds()
    first = ids.next()
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, ids.next().encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100).decode().partition("-")[0] != first.partition("-")[0]
    os.close(reading)
    os.close(writing)


def _away(*_: Any) -> NoReturn:
    raise OperationalError("connection refused")


def _not_migrated(*_: Any) -> NoReturn:
    raise ProgrammingError('relation "jobs_job" does not exist')


def test_while_the_database_is_away_the_server_writes_a_line_a_minute(
    api: AppClient, client: Client, alice: User, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.force_login(alice)
    client.raise_request_exception = False
    api.get("/api/jobs/0")
    clock = 1000.0
    monkeypatch.setattr(logs.time, "monotonic", lambda: clock)  # type: ignore[attr-defined]
    with connection.execute_wrapper(_away):
        for _ in range(3):
            assert api.get("/api/jobs/").status == 503
            assert client.get("/admin/").status_code == 503
        clock += 61
        assert api.get("/api/jobs/").status == 503
    first, second, third = log.getvalue().splitlines()
    assert " 422 " in first
    assert "ERROR ccbackend.api" in second
    assert "connection refused" in second
    assert third.endswith("connection refused (5 more such lines were left out)")


def test_if_the_database_is_not_migrated_server_and_page_say_so_once(
    api: AppClient, client: Client, alice: User, log: io.StringIO
) -> None:
    client.force_login(alice)
    client.raise_request_exception = False
    with connection.execute_wrapper(_not_migrated):
        for _ in range(2):
            answer = api.get("/api/jobs/")
            page = client.get("/admin/")
    assert (answer.status, page.status_code) == (503, 503)
    assert answer.error == NOT_MIGRATED
    assert "run `manage.py migrate`" in page.content.decode()
    (line,) = log.getvalue().splitlines()
    assert line.endswith(NOT_MIGRATED)


def test_a_worker_without_a_database_writes_a_line_a_minute(log: io.StringIO) -> None:
    own = logging.getLogger("worker")
    for _ in range(3):
        trouble.log_away(own, OperationalError("connection\nrefused"))
        trouble.log_away(own, ProgrammingError('relation "x" does not exist'))
    assert [line.partition("ERROR ")[2] for line in log.getvalue().splitlines()] == [
        "worker: the database did not answer, trying again: connection refused",
        f"worker: {NOT_MIGRATED}",
    ]
    with written("text") as text:
        trouble.log_away(own, ProgrammingError("something of ours"))
        assert "trying again: something of ours" in text.getvalue()


@pytest.mark.parametrize("by_file", [True, False])
def test_gunicorn_writes_in_the_same_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], by_file: bool
) -> None:
    monkeypatch.setenv("ENV_FILE", str(tmp_path / ".env"))
    monkeypatch.delenv("LOG_FORMAT", raising=False)
    if by_file:
        (tmp_path / ".env").write_text("LOG_FORMAT=json\n")
    else:
        monkeypatch.setenv("LOG_FORMAT", "json")
    log_of = runpy.run_path(str(PROJECT / "gunicorn.conf.py"))["Log"]
    path = tmp_path / "log"
    configuration = Config()
    configuration.set("errorlog", str(path))
    own = log_of(configuration)
    own.info("Listening at: %s", "here")
    own.close_on_exec()
    (line,) = path.read_text().splitlines()
    assert json.loads(line)["message"] == "Listening at: here"
    assert json.loads(line)["logger"] == "gunicorn.error"
    for handler in list(own.error_log.handlers):
        own.error_log.removeHandler(handler)
        handler.close()


def _messages() -> Iterator[str]:
    """Yield the longest fixed part of each message that the program logs."""
    for app in ("accounts", "archive", "jobs", "ccbackend"):
        for path in (PROJECT / app).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and re.match(r"(?:self\.)?log(?:ger)?\.\w+$", ast.unparse(node.func)):
                    text = next((each for each in node.args if isinstance(each, ast.Constant)), None)
                    if text is not None and isinstance(text.value, str):
                        yield max(re.split("%[sd]", text.value), key=len).strip(" :;,")


def test_each_message_of_the_log_is_documented() -> None:
    documented = " ".join((PROJECT / "docs" / "operations.md").read_text().split())
    found = {message for message in _messages() if message}
    assert len(found) > 15
    assert sorted(message for message in found if message not in documented) == []
    assert NOT_MIGRATED in documented
