"""The numbers of the first page: what they count, from when to when, how long they are remembered, for whom."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from jobs.health.hooks import is_quiet
from jobs.models import Job
from jobs.overview import dashboard, days
from jobs.overview.dashboard import Archiving, Overview, overview
from jobs.overview.days import _count, last_days, midnights
from jobs.states import JobState, MonitoringStatus
from tests.support.factories import JobFactory, UserFactory

pytestmark = pytest.mark.django_db

HOUR = 3600
DAY = 24 * HOUR
MIDNIGHT = int(datetime(2026, 3, 18, tzinfo=UTC).timestamp())
NOW = MIDNIGHT + 10 * HOUR


def ended(start: int, stop: int, **fields: Any) -> Job:
    """Create a job of one node that ran from start to stop."""
    return JobFactory.create(
        **{"job_state": JobState.COMPLETED, "monitoring_status": MonitoringStatus.ARCHIVED, **fields},
        start_time=start,
        duration=stop - start,
    )


def test_running_started_and_finished_today(admin: User) -> None:
    JobFactory.create(start_time=MIDNIGHT - 30 * DAY)
    JobFactory.create(start_time=MIDNIGHT)
    ended(MIDNIGHT + HOUR, MIDNIGHT + 2 * HOUR)
    ended(MIDNIGHT - HOUR, MIDNIGHT, job_state="failed")
    ended(MIDNIGHT - HOUR, MIDNIGHT - 1)
    ended(MIDNIGHT - 6 * DAY, MIDNIGHT + HOUR)
    ended(MIDNIGHT - 6 * DAY - 1, MIDNIGHT + HOUR)  # started before the last seven days: documented as left out

    seen = overview(admin, now=NOW)

    assert (seen.running, seen.started_today, seen.finished_today, seen.failed_today) == (2, 2, 3, 1)
    assert seen.since == MIDNIGHT - 6 * DAY
    assert seen.recent_jobs == 5


def test_a_day_begins_at_midnight_in_the_zone_of_the_site(admin: User, settings: Any) -> None:
    ended(MIDNIGHT - 14 * HOUR, MIDNIGHT - 12 * HOUR)
    JobFactory.create(start_time=MIDNIGHT - 13 * HOUR + 1)
    in_utc = overview(admin, now=NOW)
    settings.TIME_ZONE = "Pacific/Auckland"  # 13 hours ahead

    in_auckland = overview(admin, now=NOW)

    assert (in_utc.started_today, in_utc.finished_today) == (0, 0)
    assert (in_auckland.started_today, in_auckland.finished_today) == (1, 1)
    assert in_auckland.chart.offset == 13 * HOUR


def test_zones_that_share_a_midnight_but_not_their_days_do_not_share_numbers(admin: User, settings: Any) -> None:
    after_the_change = int(datetime(2026, 3, 31, 12, tzinfo=UTC).timestamp())
    settings.TIME_ZONE = "Africa/Cairo"  # in March two hours ahead like Berlin, but all week
    in_cairo = overview(admin, now=after_the_change)
    settings.TIME_ZONE = "Europe/Berlin"

    in_berlin = overview(admin, now=after_the_change)

    assert in_berlin.since - in_cairo.since == HOUR


def test_days_on_which_the_clocks_change_are_shorter_or_longer(settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    after_the_change = int(datetime(2026, 3, 31, 12, tzinfo=UTC).timestamp())

    bounds = midnights(after_the_change)

    hours = [(end - begin) // HOUR for begin, end in pairwise(bounds)]
    assert hours == [24, 24, 24, 24, 23, 24, 24]
    assert bounds[-2] <= after_the_change < bounds[-1]


def test_how_jobs_ended_and_the_failed_share(admin: User) -> None:
    for number, state in enumerate(["completed", "completed", "failed", "timeout"]):
        ended(MIDNIGHT - DAY + number, MIDNIGHT - HOUR, job_state=state)
    JobFactory.create(start_time=MIDNIGHT)

    seen = overview(admin, now=NOW)

    assert (seen.ended[0].state, seen.ended[0].jobs, seen.ended[0].share) == ("completed", 2, 0.5)
    assert {entry.state: entry.jobs for entry in seen.ended} == {"completed": 2, "failed": 1, "timeout": 1}
    assert seen.failed is not None
    assert (seen.failed.share, seen.finished) == (0.25, 4)


def test_no_failed_job_is_a_share_of_zero(admin: User) -> None:
    ended(MIDNIGHT - HOUR, MIDNIGHT)

    failed = overview(admin, now=NOW).failed

    assert failed is not None
    assert (failed.jobs, failed.share) == (0, 0.0)


def test_node_hours_count_nodes_and_of_a_running_job_the_time_until_now(admin: User) -> None:
    ended(MIDNIGHT, MIDNIGHT + HOUR, num_nodes=4, cluster="one", user="alice", project="bio")
    JobFactory.create(start_time=NOW - 2 * HOUR, num_nodes=8, cluster="two", user="bob", project="")

    seen = overview(admin, now=NOW)

    assert {cluster.name: cluster.node_seconds / HOUR for cluster in seen.clusters} == {"one": 4, "two": 16}
    assert [(owner.name, owner.jobs, owner.node_seconds / HOUR, owner.share) for owner in seen.users] == [
        ("bob", 1, 16, 0.8),
        ("alice", 1, 4, 0.2),
    ]
    assert [(owner.name, owner.share) for owner in seen.projects] == [("bio", 0.2)]


def test_users_of_several_days_and_projects_are_added_up_and_cut_at_ten(admin: User) -> None:
    ended(MIDNIGHT, MIDNIGHT + 50, user="zoe", project="a")
    ended(MIDNIGHT - DAY, MIDNIGHT - DAY + 50, user="zoe", project="b")
    for number in range(dashboard.TOP):
        ended(MIDNIGHT + number, MIDNIGHT + number + 60, user=f"user{number}", project="a")

    users = overview(admin, now=NOW).users

    assert len(users) == dashboard.TOP
    assert (users[0].name, users[0].jobs, users[0].node_seconds) == ("zoe", 2, 100)


def test_times_that_cannot_be_break_nothing(admin: User) -> None:
    JobFactory.create(start_time=2**62)
    for number in range(2):
        ended(MIDNIGHT + number, MIDNIGHT + number + 2**63 - 1, num_nodes=2**31 - 1)
    JobFactory.create(start_time=NOW + HOUR)

    seen = overview(admin, now=NOW)

    assert (seen.running, seen.started_today) == (2, 3)
    assert seen.clusters[0].last_start == MIDNIGHT + 1
    assert seen.clusters[0].last_stop is None


def test_archiving_counts_are_for_who_looks_after_it(admin: User, carol: User, bob: User, alice: User) -> None:
    JobFactory.create_batch(2, finished=True)
    JobFactory.create(archived=True, monitoring_status=MonitoringStatus.FAILED)
    JobFactory.create()

    assert overview(admin, now=NOW).archiving == overview(carol, now=NOW).archiving == Archiving(waiting=2, failed=1)
    assert overview(bob, now=NOW).archiving is None
    assert overview(alice, now=NOW).archiving is None


def test_archiving_is_counted_to_a_limit(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "MOST_COUNTED", 2)
    JobFactory.create_batch(5, finished=True)

    assert overview(admin, now=NOW).archiving == Archiving(waiting=3, failed=0)


# --- the chart ---


def test_the_chart_has_every_hour_until_now_and_all_jobs_in_it(admin: User) -> None:
    ended(MIDNIGHT + 30 * 60, MIDNIGHT + HOUR + 30 * 60, job_state="failed", num_nodes=2)
    ended(MIDNIGHT - DAY, MIDNIGHT - DAY + HOUR, job_state="timeout")
    JobFactory.create(start_time=NOW - 60, cluster="other")

    chart = overview(admin, now=NOW).chart

    assert len(chart.begins) == 6 * 24 + 10
    assert {end - begin for begin, end in pairwise(chart.begins)} == {HOUR}
    at_midnight = chart.begins.index(MIDNIGHT)
    assert chart.jobs["failed"][at_midnight] == 1
    assert chart.node_hours["testcluster"][at_midnight] == 2
    assert chart.jobs["other"][at_midnight - 24] == 1
    assert chart.jobs["running"][-1] == 1
    newest = chart.rows[0]
    assert (newest.begin, newest.started, newest.jobs) == (NOW - HOUR, 1, (0, 0, 0, 1))


def test_the_smallest_of_many_clusters_share_a_colour(admin: User) -> None:
    for number in range(8):
        ended(MIDNIGHT, MIDNIGHT + HOUR * (number + 1), cluster=f"c{number}")

    node_hours = overview(admin, now=NOW).chart.node_hours

    assert list(node_hours) == ["c3", "c4", "c5", "c6", "c7", "other clusters"]
    assert sum(node_hours["other clusters"]) == 1 + 2 + 3


# --- clusters that go quiet ---


@pytest.mark.parametrize(
    ("pause", "starts", "quiet"),
    [
        (HOUR, 1000, False),  # usually every ten minutes; an hour says nothing yet
        (101 * 60 + 1, 1000, True),
        (3 * DAY, 9, False),  # too few to say what is usual
        (HOUR + 1, 100_000, True),
        (HOUR - 1, 100_000, False),
        (16 * HOUR, 100, False),
        (17 * HOUR, 100, True),
    ],
)
def test_a_cluster_is_quiet_after_ten_of_its_usual_pauses_and_an_hour(pause: int, starts: int, quiet: bool) -> None:
    assert is_quiet(last_event=NOW - pause, events=starts, span=7 * DAY, now=NOW) is quiet


def test_a_cluster_without_events_is_not_called_quiet() -> None:
    assert not is_quiet(last_event=None, events=0, span=7 * DAY, now=NOW)


def quiet_clusters(seen: Overview) -> dict[str, int | None]:
    """Return how long each quiet cluster has been so."""
    return {cluster.name: cluster.quiet_for for cluster in seen.quiet}


def test_starts_and_stops_both_keep_a_cluster_from_being_quiet(admin: User, carol: User, alice: User) -> None:
    rows = [
        JobFactory.build(cluster=cluster, job_state="completed", start_time=MIDNIGHT - DAY + number, duration=10)
        for number in range(1000)
        for cluster in ("starts", "stops", "quiet")
    ]
    Job.objects.bulk_create(rows)
    JobFactory.create(cluster="starts", start_time=NOW - 60)
    ended(MIDNIGHT - DAY, NOW - 60, cluster="stops")
    JobFactory.create(cluster="quiet", start_time=NOW + HOUR)  # a clock that is wrong does not hide it

    expected = {"quiet": NOW - (MIDNIGHT - DAY + 999 + 10)}

    assert quiet_clusters(overview(admin, now=NOW)) == quiet_clusters(overview(carol, now=NOW)) == expected
    assert quiet_clusters(overview(alice, now=NOW)) == {}


def test_a_start_ends_the_warning_at_once(admin: User) -> None:
    rows = [
        JobFactory.build(job_state="completed", start_time=MIDNIGHT - DAY + number, duration=10)
        for number in range(1000)
    ]
    Job.objects.bulk_create(rows)
    assert quiet_clusters(overview(admin, now=NOW))

    JobFactory.create(start_time=NOW + 1)

    assert not quiet_clusters(overview(admin, now=NOW + 2))


def test_a_configured_cluster_is_listed_with_its_last_start_however_long_ago(admin: User, cluster: Any) -> None:
    ended(MIDNIGHT - 90 * DAY, MIDNIGHT - 89 * DAY)

    (listed,) = overview(admin, now=NOW).clusters

    assert (listed.name, listed.jobs, listed.last_start) == ("testcluster", 0, MIDNIGHT - 90 * DAY)


# --- what is remembered ---


def test_each_day_is_counted_anew_when_it_is_due_and_not_before(admin: User) -> None:
    def started(now: int) -> tuple[int, int, int]:
        days = last_days(Job.objects.visible_to(admin), now=now)
        today, yesterday, before = (sum(hour.jobs for hour in days[place].hours) for place in (-1, -2, -3))
        return today, yesterday, before

    for back in (0, 1, 2):
        JobFactory.create(start_time=MIDNIGHT - back * DAY)
    assert started(NOW) == (1, 1, 1)
    for back in (0, 1, 2):
        JobFactory.create(start_time=MIDNIGHT - back * DAY + 1)

    assert started(NOW + 59) == (1, 1, 1)
    assert started(NOW + 60) == (2, 1, 1)
    assert started(NOW + 300) == (2, 2, 1)
    assert started(NOW + 600) == (2, 2, 2)


def test_jobs_that_are_imported_into_empty_days_show_within_a_minute(admin: User) -> None:
    JobFactory.create(start_time=MIDNIGHT - 3 * DAY, cluster="full")
    assert overview(admin, now=NOW).recent_jobs == 1

    for back in (5, 3, 2):
        JobFactory.create(start_time=MIDNIGHT - back * DAY + HOUR, cluster="imported")

    chart = overview(admin, now=NOW + 60).chart
    shown = [begin for begin, jobs in zip(chart.begins, chart.started, strict=True) if jobs]
    assert shown == [MIDNIGHT - 5 * DAY + HOUR, MIDNIGHT - 3 * DAY, MIDNIGHT - 2 * DAY + HOUR]


def test_numbers_of_yesterday_are_not_shown_as_those_of_today(admin: User) -> None:
    JobFactory.create(start_time=MIDNIGHT + DAY - 20)
    assert overview(admin, now=MIDNIGHT + DAY - 10).started_today == 1

    assert overview(admin, now=MIDNIGHT + DAY + 10).started_today == 0


def test_while_one_request_counts_the_others_get_the_older_numbers(
    admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Job.objects.visible_to(admin)
    older = last_days(jobs, now=NOW)
    JobFactory.create(start_time=MIDNIGHT)
    meanwhile = []
    count = _count

    def count_while_somebody_else_asks(*given: Any, **named: Any) -> Any:
        meanwhile.append(last_days(jobs, now=NOW + 61))
        return count(*given, **named)

    monkeypatch.setattr(days, "_count", count_while_somebody_else_asks)
    newer = last_days(jobs, now=NOW + 61)

    assert meanwhile == [older]
    assert newer[-1].counted_at == NOW + 61
    assert last_days(jobs, now=NOW + 62) == newer


@pytest.mark.django_db(transaction=True)
def test_where_nothing_is_known_yet_one_request_counts_and_the_others_wait(
    admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Job.objects.visible_to(admin)
    all_ask = threading.Barrier(4, timeout=10)
    counts = []
    count = _count

    def count_slowly(*given: Any, **named: Any) -> Any:
        counts.append(threading.get_ident())
        time.sleep(0.3)
        return count(*given, **named)

    def ask(_: int) -> Any:
        try:
            all_ask.wait()
            return last_days(jobs, now=NOW)
        finally:
            connection.close()

    monkeypatch.setattr(days, "_count", count_slowly)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(ask, range(4)))

    assert len(counts) == 1
    assert answers == [answers[0]] * 4


def test_a_count_that_fails_leaves_the_way_free_for_the_next(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Job.objects.visible_to(admin)
    last_days(jobs, now=NOW)
    with monkeypatch.context() as patched:
        patched.setattr(days, "_by_owner", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            last_days(jobs, now=NOW + 61)

    assert last_days(jobs, now=NOW + 61)[-1].counted_at == NOW + 61


def test_a_role_that_is_given_or_taken_changes_the_numbers_at_once() -> None:
    ended(MIDNIGHT, MIDNIGHT + HOUR, user="charlie", project="bio")
    dora = UserFactory.create(username="dora", roles=["user"])
    assert overview(dora, now=NOW).started_today == 0

    dora.add_roles(["manager"])
    dora.add_projects(["bio"])
    assert overview(dora, now=NOW).started_today == 1

    dora.project_set.all().delete()
    assert overview(User.objects.get(pk=dora.pk), now=NOW).started_today == 0


def test_the_days_are_read_by_way_of_the_index_of_starts(admin: User) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL reads a table this small as a whole, whatever indexes there are")
    JobFactory.create_batch(3, start_time=MIDNIGHT)
    with CaptureQueriesContext(connection) as queries:
        overview(admin, now=NOW)

    plans = []
    for query in queries:
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN QUERY PLAN " + query["sql"].replace("%", "%%"))
            plans += [row[3] for row in cursor.fetchall() if not query["sql"].endswith("LIMIT 1")]
    assert any("jobs_by_start" in plan for plan in plans)
    assert [plan for plan in plans if plan.startswith("SCAN jobs_job") and "USING" not in plan] == []
