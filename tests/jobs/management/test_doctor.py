"""manage.py doctor: one page, a JSON document, and an exit status."""

import json
from pathlib import Path

import pytest

from jobs.archiving.heartbeat import Heartbeat
from tests.support.commands import Run

pytestmark = pytest.mark.django_db


def test_doctor_says_what_is_wrong_and_what_to_do(run: Run, archive_root: Path) -> None:
    Heartbeat("here:1:a").beat(archived=0, failed=0, clusters={})
    good = run("doctor")
    assert good.status == 0
    assert "ok      database: " in good.out
    assert not {"WARNING", "ERROR"} & set(good.out.split())

    (archive_root / "version.txt").unlink()
    bad = run("doctor")
    assert bad.status == 1
    assert "WARNING archive: The archive" in bad.out
    assert "echo 1 >" in bad.out
    assert "1 of 12 findings needs a hand." in bad.err
    assert all(len(line) < 200 for line in bad.lines)

    document = json.loads(run("doctor", "--json").out)
    assert document["state"] == "warning"
    assert {"check", "state", "sentence", "since", "cure"} == document["findings"][0].keys()
