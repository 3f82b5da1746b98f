"""What a client sends enters a log line or an error message escaped and bounded."""

import io
import logging
import logging.config
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from ccbackend.logs import MOST, shown
from tests.support.clients import AppClient
from tests.support.factories import START

FORGED = "2026-01-01 00:00:00,000 ERROR ccbackend.api: forged"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Return what the server would have written to stderr."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    configuration: Any = settings.LOGGING
    handler.setFormatter(
        logging.config.DictConfigurator(configuration).configure_formatter(configuration["formatters"]["line"])
    )
    logging.getLogger().addHandler(handler)
    yield written
    logging.getLogger().removeHandler(handler)


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
