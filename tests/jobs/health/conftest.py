"""Fixtures of the tests of health: the faces, each asked as people and programs ask it."""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from accounts.models import User
from ccbackend.fastpath import counts
from jobs.health.report import State
from tests.support.clients import AppClient
from tests.support.commands import Run, run

__all__ = ["run"]


@dataclass(frozen=True)
class Told:
    """What the faces say about a check: the worst state, the sentences and cures of that state, and since when."""

    state: State
    text: str
    since: int | None


Tell = Callable[[str], Told]
"""Asks all faces about a check, by its name; see the fixture `tell`."""


def now() -> int:
    """Return the time in epoch seconds."""
    return int(time.time())


@pytest.fixture(autouse=True)
def _fresh(archive_root: object) -> Iterator[None]:
    """Give each test an archive, and forget the state that the first page remembers."""
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def tell(anonymous: AppClient, carol: User, run: Run) -> Tell:
    """Return a function that asks all faces about a check, and sees that they agree."""
    page = Client()
    page.force_login(carol)

    def ask(name: str) -> Told:
        counts.tally()  # as each process does once a second
        outcome = run("doctor", "--json")
        document: dict[str, Any] = json.loads(outcome.out)
        findings = [finding for finding in document["findings"] if finding["check"] == name]
        state = max(State[finding["state"].upper()] for finding in findings)
        worst = [finding for finding in findings if finding["state"] == state.word]
        assert outcome.status == (1 if document["state"] != "ok" else 0)

        metrics = anonymous.get("/metrics").body.decode()
        assert f'\nccbackend_health{{check="{name}"}} {state.value}\n' in metrics

        shown = page.get("/admin/health/").content.decode()
        rows = re.findall(rf'pill pill-(\w+)">\w+</span></td>\s*<th scope="row">{name}</th>', shown)
        kinds = {"good": State.OK, "warn": State.WARNING, "bad": State.ERROR}
        assert [kinds[kind] for kind in rows] == sorted(
            (State[finding["state"].upper()] for finding in findings), reverse=True
        )
        text = "\n".join(f"{finding['sentence']} {finding['cure']}" for finding in worst)
        assert all(finding["cure"] for finding in worst) or state == State.OK
        return Told(state, text, worst[0]["since"])

    return ask
