"""Everything that started before a time is deleted: preview, confirmation, steps that can be stopped and continued."""

import re
import time
from typing import Any

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.test import Client

from accounts.models import User
from jobs import history
from jobs.deletion import services, steps
from jobs.deletion.steps import Plan, go_on, progress_of
from jobs.exceptions import JobNotFoundError
from jobs.history import Actor
from jobs.models import Job, JobTag
from tests.support.admin_site import Login
from tests.support.factories import START, JobFactory, TagFactory, UserFactory

pytestmark = pytest.mark.django_db

PAGE = "/admin/jobs/job/delete-before/"
BEFORE = "2023-11-14T22:23:20"  # UTC: START + 600


@pytest.fixture
def client(admin: User, login: Login) -> Client:
    """Return the administrator's browser."""
    return login(admin)


def hidden(text: str, name: str) -> str:
    """Return a hidden field of a page."""
    found = re.search(rf'name="{name}" value="([^"]*)"', text)
    assert found, text
    return found[1]


def preview(client: Client, **query: str) -> str:
    """Return the page with the counts."""
    return str(client.get(PAGE, {"before": BEFORE} | query).content.decode())


def begin(client: Client, count: int, **query: str) -> str:
    """Confirm and return the page with the progress."""
    plan = hidden(preview(client, **query), "plan")
    return str(client.post(PAGE, {"plan": plan, "confirm": f"{count:,}"}).content.decode())


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a step delete two jobs."""
    monkeypatch.setattr(services, "_DELETE_BATCH", 2)
    monkeypatch.setattr(steps, "STEP", 0.0)


def test_the_preview_counts_by_cluster_and_state_and_deletes_nothing(client: Client) -> None:
    JobFactory.create_batch(3, archived=True)
    JobFactory.create_batch(2, cluster="other")
    JobFactory.create(finished=True)
    JobFactory.create(start_time=START + 600)  # at that very second
    JobFactory.create(start_time=START + 601)

    text = preview(client)

    assert "6 jobs that started before" in text
    rows = re.findall(r'<th scope="row">(\w+)</th><td>(\w+)</td><td class="number">(\d+)</td>', text)
    assert rows == [("other", "running", "2"), ("testcluster", "completed", "4")]
    assert "2 of them are still running" in text
    assert "1 of them waits for the archive" in text
    assert re.search(r"Counted in \d+\.\d s", text)
    assert Job.objects.count() == 8


def test_jobs_go_after_the_number_was_typed_and_one_entry_tells_it(client: Client, admin: User) -> None:
    JobFactory.create_batch(5, tags=[TagFactory.create()])
    kept = JobFactory.create(start_time=START + 600)

    text = begin(client, 5)

    assert "5 of 5 jobs deleted. Done." in text
    assert list(Job.objects.all()) == [kept]
    assert not JobTag.objects.exists()
    entry = LogEntry.objects.get()
    assert (entry.user, entry.action_flag) == (admin, DELETION)
    assert history.text_of(entry) == "Deleted 5 of 5 jobs that started before 2023-11-14 22:23:20 UTC."


@pytest.mark.parametrize("typed", ["", "4", "yes", "-5"])
def test_another_number_deletes_nothing(typed: str, client: Client) -> None:
    JobFactory.create_batch(5)
    plan = hidden(preview(client), "plan")

    text = client.post(PAGE, {"plan": plan, "confirm": typed}).content.decode()

    assert "Nothing was deleted: type 5 to confirm." in text
    assert (Job.objects.count(), LogEntry.objects.count()) == (5, 0)


def test_one_cluster_and_untagged_jobs_alone_can_be_chosen(client: Client, cluster: Any) -> None:
    JobFactory.create(cluster="other")
    JobFactory.create_batch(2)
    tagged = JobFactory.create(tags=[TagFactory.create()])

    text = begin(client, 2, cluster="testcluster", keep_tagged="on")

    assert "Done." in text
    assert {job.cluster for job in Job.objects.all()} == {"other", "testcluster"}
    assert Job.objects.filter(pk=tagged.pk).exists()
    assert history.text_of(LogEntry.objects.get()) == (
        "Deleted 2 of 2 jobs of cluster testcluster that started before 2023-11-14 22:23:20 UTC, but tagged ones."
    )


def test_a_time_is_read_in_the_zone_of_the_site(client: Client, settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    JobFactory.create(start_time=START)

    assert "Nothing to delete" in preview(client)  # an hour earlier than in UTC
    assert "1 job that started before" in preview(client, before="2023-11-14T23:23:20")


@pytest.mark.parametrize("query", [{"before": "soon"}, {"before": ""}, {"cluster": "unknown"}])
def test_what_cannot_be_is_asked_for_again(query: dict[str, str], client: Client) -> None:
    JobFactory.create()
    text = preview(client, **query)
    assert "errorlist" in text
    assert 'name="plan"' not in text


@pytest.mark.usefixtures("one_at_a_time")
def test_each_step_is_short_and_the_next_goes_on(client: Client) -> None:
    JobFactory.create_batch(5)

    text = begin(client, 5)
    assert "2 of 5 jobs deleted so far." in text
    assert "data-goes-on" in text
    assert history.text_of(LogEntry.objects.get()).startswith("Deleted 2 of 5 jobs")
    text = client.post(PAGE, {"run": hidden(text, "run")}).content.decode()
    assert "4 of 5" in text
    text = client.post(PAGE, {"run": hidden(text, "run")}).content.decode()

    assert "5 of 5 jobs deleted. Done." in text
    assert "data-goes-on" not in text
    assert not Job.objects.exists()
    assert history.text_of(LogEntry.objects.get()).endswith("UTC.")


@pytest.mark.usefixtures("one_at_a_time")
def test_a_stopped_deletion_waits_and_is_continued_from_its_address(client: Client) -> None:
    JobFactory.create_batch(5)
    run = hidden(begin(client, 5), "run")

    text = client.get(PAGE, {"run": run}).content.decode()

    assert "2 of 5 jobs deleted. Stopped." in text
    assert "data-goes-on" not in text
    assert history.text_of(LogEntry.objects.get()).endswith("; not finished.")
    assert Job.objects.count() == 3
    assert "4 of 5" in client.post(PAGE, {"run": hidden(text, "run")}).content.decode()


@pytest.mark.usefixtures("one_at_a_time")
def test_a_step_whose_answer_was_lost_is_counted_all_the_same(client: Client) -> None:
    JobFactory.create_batch(7)
    run = hidden(begin(client, 7), "run")
    client.post(PAGE, {"run": run})  # the answer never arrives

    text = client.post(PAGE, {"run": run}).content.decode()

    assert "6 of 7" in text
    assert "7 of 7 jobs deleted. Done." in client.post(PAGE, {"run": run}).content.decode()


def test_a_crash_in_the_midst_of_a_batch_takes_back_batch_and_count(
    admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    JobFactory.create_batch(4)
    monkeypatch.setattr(services, "_DELETE_BATCH", 2)
    entry = steps.begin(plan=Plan(START + 600, "", omit_tagged=False, total=4), actor=Actor(admin.pk))
    go_on(entry=entry, seconds=0)

    def crash(*arguments: Any, **options: Any) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(steps, "_message", crash)
        with pytest.raises(KeyboardInterrupt):
            go_on(entry=entry)

    assert Job.objects.count() == 2
    assert progress_of(entry).deleted == 2
    assert go_on(entry=entry).deleted == 4


def test_jobs_that_stay_are_passed_over_once(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_DELETE_BATCH", 2)
    JobFactory.create_batch(3, tags=[TagFactory.create()])
    JobFactory.create_batch(4)
    plan = Plan(START + 600, "", omit_tagged=True, total=4)

    progress = go_on(entry=steps.begin(plan=plan, actor=Actor(admin.pk)))

    assert progress.deleted == 4
    assert progress.reached == START + 6
    assert Job.objects.count() == 3


def test_a_run_whose_entry_is_gone_is_refused(admin: User, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = steps.begin(plan=Plan(START, "", omit_tagged=False, total=1), actor=Actor(admin.pk))
    LogEntry.objects.all().delete()
    with pytest.raises(JobNotFoundError):
        go_on(entry=entry)


def test_an_entry_that_keeps_no_deletion_is_refused(admin: User) -> None:
    """As an entry of an older version, whose progress was in its text alone."""
    job = JobFactory.create()
    text = "Deleted 2 of 5 jobs that started before 2023-11-14 22:23:20 UTC; not finished."
    old = LogEntry.objects.create(user=admin, action_flag=DELETION, change_message=text)
    history.record(Actor(admin.pk), [job.pk], "Noted.", note="x")
    for entry in (old.pk, LogEntry.objects.latest("pk").pk):
        with pytest.raises(JobNotFoundError):
            progress_of(entry)
    assert history.text_of(old) == text


def test_the_state_of_a_deletion_is_data(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_DELETE_BATCH", 2)
    JobFactory.create_batch(3, cluster="a; not finished. Deleted 7 of 9")
    plan = Plan(START + 600, "a; not finished. Deleted 7 of 9", total=3)
    entry = steps.begin(plan=plan, actor=Actor(admin.pk, "API token x"))

    for deleted, is_finished in ((2, False), (3, True)):
        progress = go_on(entry=entry, seconds=0)
        assert progress == progress_of(entry)
        assert (progress.plan, progress.deleted, progress.is_finished) == (plan, deleted, is_finished)
    assert history.text_of(LogEntry.objects.get()).endswith("Through API token x.")


def test_what_was_not_confirmed_or_is_somebody_else_s_is_refused(client: Client, login: Login) -> None:
    JobFactory.create_batch(3)
    plan = hidden(preview(client), "plan")
    other = login(UserFactory.create(username="zoe", roles=["admin"]))

    for data in ({"run": plan}, {"plan": plan[:-2], "confirm": "3"}, {"plan": "x", "confirm": "3"}, {}):
        assert client.post(PAGE, data).status_code == 403
    assert other.post(PAGE, {"plan": plan, "confirm": "3"}).status_code == 403
    assert Job.objects.count() == 3


def test_no_page_loads_the_rows(client: Client, django_assert_max_num_queries: Any) -> None:
    JobFactory.create_batch(40)
    with django_assert_max_num_queries(8) as captured:
        preview(client)
    assert not any("resources" in query["sql"] for query in captured.captured_queries)
    with django_assert_max_num_queries(25):
        begin(client, 40)


def test_two_thousand_jobs_take_a_second_or_two(admin: User) -> None:
    template = JobFactory.create()
    Job.objects.bulk_create(
        [
            Job(job_id=number, start_time=START, cluster="c", num_nodes=1, resources=template.resources)
            for number in range(1, 2001)
        ]
    )
    begun = time.monotonic()

    plan = Plan(START + 600, "", omit_tagged=False, total=2001)
    progress = go_on(entry=steps.begin(plan=plan, actor=Actor(admin.pk)), seconds=20)

    assert (progress.deleted, progress.is_finished) == (2001, True)
    assert time.monotonic() - begun < 20
