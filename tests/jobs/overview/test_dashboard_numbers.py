"""The numbers of the first page: what they count, from when to when, how long they are remembered, for whom."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from accounts.models import User
from jobs.deletion.services import delete_jobs
from jobs.health.hooks import is_quiet
from jobs.ledger.backlog import book_next
from jobs.models import Job
from jobs.overview import activity, dashboard, recent
from jobs.overview.dashboard import Archiving, Overview, overview
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


def book_all() -> None:
    """Book all jobs that have ended, and forget the figures that were counted before."""
    while book_next(1000):
        pass


@pytest.fixture(params=["booked", "not booked"])
def settle(request: pytest.FixtureRequest) -> Any:
    """Return what is to be done after jobs were made: the figures are the same whether they are booked or not."""
    return book_all if request.param == "booked" else lambda: None


def test_running_started_and_finished_today(admin: User, settle: Any) -> None:
    JobFactory.create(start_time=MIDNIGHT - 30 * DAY)
    JobFactory.create(start_time=MIDNIGHT)
    ended(MIDNIGHT + HOUR, MIDNIGHT + 2 * HOUR)
    ended(MIDNIGHT - HOUR, MIDNIGHT, job_state="failed")
    ended(MIDNIGHT - HOUR, MIDNIGHT - 1)
    ended(MIDNIGHT - 6 * DAY, MIDNIGHT + HOUR)
    ended(MIDNIGHT - 6 * DAY - 1, MIDNIGHT + HOUR)
    settle()

    seen = overview(admin, now=NOW)

    assert (seen.running, seen.started_today, seen.finished_today, seen.failed_today) == (2, 2, 4, 1)
    assert (seen.since, seen.today) == ("2026-03-12T00:00Z", "2026-03-18T00:00Z")
    assert seen.recent_jobs == 5


def test_days_are_those_of_utc_in_each_zone(admin: User, settings: Any, settle: Any) -> None:
    ended(MIDNIGHT - 1, MIDNIGHT + 1)
    settle()
    in_utc = overview(admin, now=NOW)
    settings.TIME_ZONE = "Pacific/Auckland"  # 13 hours ahead

    assert overview(admin, now=NOW) == in_utc
    assert (in_utc.started_today, in_utc.finished_today) == (0, 1)


@pytest.mark.parametrize("days", dashboard.RANGES)
def test_a_range_has_its_days_and_no_others(days: int, admin: User, settle: Any) -> None:
    ended(MIDNIGHT - (days - 1) * DAY, MIDNIGHT - (days - 1) * DAY + HOUR)
    ended(MIDNIGHT - (days - 1) * DAY - 10, MIDNIGHT - (days - 1) * DAY - 5)
    settle()

    seen = overview(admin, days, now=NOW)

    assert (seen.days, len(seen.chart.days), seen.recent_jobs) == (days, days, 1)
    assert seen.chart.started[0] == 1


def test_how_jobs_ended_and_the_failed_share(admin: User, settle: Any) -> None:
    for number, state in enumerate(["completed", "completed", "failed", "timeout"]):
        ended(MIDNIGHT - DAY + number, MIDNIGHT - HOUR, job_state=state)
    JobFactory.create(start_time=MIDNIGHT)
    settle()

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


def test_node_hours_count_nodes_and_of_a_running_job_the_time_until_now(admin: User, settle: Any) -> None:
    ended(MIDNIGHT, MIDNIGHT + HOUR, num_nodes=4, cluster="one", user="alice", project="bio")
    JobFactory.create(start_time=NOW - 2 * HOUR, num_nodes=8, cluster="two", user="bob", project="")
    settle()

    seen = overview(admin, now=NOW)

    assert {cluster.name: cluster.node_seconds / HOUR for cluster in seen.clusters} == {"one": 4, "two": 16}
    assert [(owner.name, owner.jobs, owner.node_seconds / HOUR, owner.share) for owner in seen.users] == [
        ("bob", 1, 16, 0.8),
        ("alice", 1, 4, 0.2),
    ]
    assert [(owner.name, owner.share) for owner in seen.projects] == [("bio", 0.2)]


def test_node_hours_are_those_of_the_days_and_not_of_the_time_before(admin: User, settle: Any) -> None:
    ended(MIDNIGHT - 7 * DAY, MIDNIGHT - 5 * DAY, user="alice")
    JobFactory.create(start_time=MIDNIGHT - 30 * DAY, user="bob")
    settle()

    seen = overview(admin, now=NOW)

    assert {owner.name: owner.node_seconds for owner in seen.users} == {"alice": DAY, "bob": 6 * DAY + 10 * HOUR}
    assert {owner.name: owner.jobs for owner in seen.users} == {"alice": 0, "bob": 0}
    (series,) = seen.chart.node_hours
    assert series.values == [48.0, *[24.0] * 5, 10.0]


def test_users_of_several_days_and_projects_are_added_up_and_cut_at_ten(admin: User, settle: Any) -> None:
    ended(MIDNIGHT, MIDNIGHT + 50, user="zoe", project="a")
    ended(MIDNIGHT - DAY, MIDNIGHT - DAY + 50, user="zoe", project="b")
    for number in range(dashboard.TOP):
        ended(MIDNIGHT + number, MIDNIGHT + number + 60, user=f"user{number}", project="a")
    settle()

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


def test_a_job_that_waits_to_be_archived_anew_counts_once(admin: User) -> None:
    job = ended(MIDNIGHT, MIDNIGHT + HOUR)
    book_all()
    Job.objects.filter(pk=job.pk).update(monitoring_status=MonitoringStatus.ARCHIVING, statistics="{}")

    assert overview(admin, now=NOW).started_today == 1


def test_a_deleted_job_stays_counted(admin: User) -> None:
    job = ended(MIDNIGHT, MIDNIGHT + HOUR)
    book_all()
    delete_jobs(row_ids=[job.pk])

    seen = overview(admin, now=NOW)

    assert (seen.started_today, seen.users[0].node_seconds) == (1, HOUR)


def test_of_many_that_have_yet_to_be_booked_some_are_counted_and_the_page_says_so(
    admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity, "MOST_READ", 2)
    for number in range(3):
        ended(MIDNIGHT + number, MIDNIGHT + HOUR)

    short = overview(admin, now=NOW)
    book_all()
    whole = overview(admin, now=NOW + recent.MOST_AGE)

    assert (short.started_today, short.is_short) == (2, True)
    assert (whole.started_today, whole.is_short) == (3, False)


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


def test_the_parts_of_a_bar_lead_to_what_they_count(admin: User, settle: Any) -> None:
    ended(MIDNIGHT + 30 * 60, MIDNIGHT + HOUR + 30 * 60, job_state="failed", num_nodes=2)
    for number in range(2):
        ended(MIDNIGHT - DAY + number, MIDNIGHT - DAY + HOUR + number, job_state="timeout")
    JobFactory.create(start_time=NOW - 60, cluster="other")
    settle()

    chart = overview(admin, now=NOW).chart

    bars = {bar.text: bar for bar in (*chart.job_bars, *chart.node_hour_bars)}
    assert set(bars) == {
        "2026-03-17: 2 jobs started, other",
        "2026-03-18: 1 job started, failed",
        "2026-03-18: 1 job started, running",
        "2026-03-17: 2 node hours, testcluster",
        "2026-03-18: 2 node hours, testcluster",
        "2026-03-18: 0.017 node hours, other",
    }
    failed, running = (bars[f"2026-03-18: 1 job started, {outcome}"] for outcome in ("failed", "running"))
    assert (failed.y, failed.height, running.y, running.height) == (50, 50, 0, 50)
    assert parse_qs(urlsplit(failed.address).query) == {
        "state": ["failed"],
        "from": ["2026-03-18T00:00Z"],
        "to": ["2026-03-19T00:00Z"],
    }
    (others,) = parse_qs(urlsplit(bars["2026-03-17: 2 jobs started, other"].address).query)["q"]
    assert {*JobState.values} - {*others.removeprefix("state:").split(",")} == {"completed", "failed", "running"}
    usage = urlsplit(bars["2026-03-17: 2 node hours, testcluster"].address)
    assert usage.path == "/admin/usage/"
    assert parse_qs(usage.query) == {
        "by": ["user"],
        "cluster": ["testcluster"],
        "from": ["2026-03-17"],
        "to": ["2026-03-17"],
    }
    assert chart.rows[0][:2] == ("2026-03-18", 2)


def test_the_smallest_of_many_clusters_share_a_colour(admin: User, settle: Any) -> None:
    for number in range(8):
        ended(MIDNIGHT, MIDNIGHT + HOUR * (number + 1), cluster=f"c{number}")
    settle()

    node_hours = {series.name: series.values for series in overview(admin, now=NOW).chart.node_hours}

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
    return {cluster.name: cluster.quiet_for for cluster in seen.clusters if cluster.quiet_for is not None}


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


def test_figures_are_counted_anew_after_a_minute_and_not_before(admin: User) -> None:
    JobFactory.create(start_time=MIDNIGHT)
    assert overview(admin, now=NOW).started_today == 1
    JobFactory.create(start_time=MIDNIGHT + 1)

    assert overview(admin, now=NOW + 59).started_today == 1
    assert overview(admin, 30, now=NOW + 59).started_today == 2
    assert overview(admin, now=NOW + 60).started_today == 2


def test_numbers_of_yesterday_are_not_shown_as_those_of_today(admin: User) -> None:
    JobFactory.create(start_time=MIDNIGHT + DAY - 20)
    assert overview(admin, now=MIDNIGHT + DAY - 10).started_today == 1

    assert overview(admin, now=MIDNIGHT + DAY + 10).started_today == 0


def test_a_role_that_is_given_or_taken_changes_the_numbers_at_once(settle: Any) -> None:
    ended(MIDNIGHT, MIDNIGHT + HOUR, user="charlie", project="bio")
    settle()
    dora = UserFactory.create(username="dora", roles=["user"])
    assert overview(dora, now=NOW).started_today == 0

    dora.add_roles(["manager"])
    dora.add_projects(["bio"])
    assert overview(dora, now=NOW).started_today == 1

    dora.project_set.all().delete()
    assert overview(User.objects.get(pk=dora.pk), now=NOW).started_today == 0


def test_ended_jobs_are_read_from_usage_alone(admin: User, bob: User) -> None:
    ended(MIDNIGHT, MIDNIGHT + HOUR, project="bio")
    book_all()
    Job.objects.all().delete()  # the rows, behind the back of the books

    for user in (admin, bob):
        assert overview(user, now=NOW).started_today == 1
