"""Everything is broken once, for real and under load: nothing is lost or doubled. `python -m tests.torture` goes on."""

from pathlib import Path

import pytest
from django.db import connection

from tests.support.server import Server
from tests.torture.crowd import crowd
from tests.torture.report import tables
from tests.torture.run import torture

pytestmark = pytest.mark.server


def test_nothing_is_lost_or_doubled_whatever_breaks() -> None:
    said: list[str] = []
    report = torture(postgres=connection.vendor == "postgresql", seconds=0, seed=1, say=said.append)
    assert report.wrong == [], "\n".join([tables([report]), *said])
    assert report.sums["jobs lost"] == report.sums["jobs stored or archived twice"] == 0
    assert report.sums["starts and stops answered"] >= 50, tables([report])


def test_eight_processes_at_once_leave_what_their_models_have(tmp_path: Path) -> None:
    """`python -m tests.torture.crowd` goes on for minutes."""
    server = Server(tmp_path / "server", sources={"*": {"kind": "synthetic"}})
    try:
        server.prepare()
        report = crowd(server, connection.vendor, seconds=3, seed=1)
    finally:
        server.stop()
    assert report.wrong == [], "\n".join(report.wrong)
    assert report.sums["random steps"] >= 80
