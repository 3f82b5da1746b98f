"""Everything is broken once, for real and under load: nothing is lost or doubled. `python -m tests.torture` goes on."""

import pytest
from django.db import connection

from tests.torture.report import tables
from tests.torture.run import torture

pytestmark = pytest.mark.server


def test_nothing_is_lost_or_doubled_whatever_breaks() -> None:
    report = torture(postgres=connection.vendor == "postgresql", seconds=0, seed=1)
    assert report.wrong == [], tables([report])
    assert report.sums["jobs lost"] == report.sums["jobs stored or archived twice"] == 0
    assert report.sums["starts and stops answered"] >= 50, tables([report])
