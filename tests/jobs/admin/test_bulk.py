"""The pages of bulk changes: select, confirm, go on, undo; each only for whom it is."""

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from accounts.models import User
from jobs.admin.bulk import JobBulk
from jobs.admin.changelist import JobPages
from jobs.bulk import changing, selecting
from jobs.bulk.selecting import begin_selection, forget, select_all
from jobs.history import Actor
from jobs.models import Job, JobTag, Tag
from jobs.records import BulkChange, BulkPart
from jobs.states import BulkKind, BulkState
from tests.support.admin_site import Login
from tests.support.factories import JobFactory, TagFactory

pytestmark = pytest.mark.django_db

LIST = "/admin/jobs/job/"
PEOPLE = ("admin", "carol", "bob", "alice", "bench", "nobody")


@pytest.fixture
def client(admin: User, login: Login) -> Client:
    """Return the administrator's browser."""
    return login(admin)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a list count two jobs, and each step be a single part of two."""
    monkeypatch.setattr(JobPages, "limit", 2)
    monkeypatch.setattr(selecting, "BATCH", 2)
    monkeypatch.setattr(selecting, "_READ", 2)
    monkeypatch.setattr(selecting, "STEP", 0.0)
    monkeypatch.setattr(changing, "STEP", 0.0)


def begin(client: Client, action: str, query: str = "", *jobs: Job) -> str:
    """Run an action on jobs, or on the whole list; return the address of the change."""
    chosen = {"_selected_action": [str(job.pk) for job in jobs]} if jobs else {"_selected_action": "0"}
    across = {} if jobs else {"select_across": "1"}
    response = client.post(f"{LIST}{query}", {"action": action, "index": "0", **chosen, **across})
    assert response.status_code == 302, response.content.decode()
    return str(response["Location"])


def step(client: Client, address: str, **data: str) -> str:
    """Press a button of the page of a change; return the page that follows."""
    return str(client.post(address, data, follow=True).content.decode())


def through(client: Client, address: str, **data: str) -> str:
    """Confirm a change, and make its steps to the end."""
    text = step(client, address)
    while 'value="Continue"' in text:
        text = step(client, address)
    text = step(client, address, begin="1", **data)
    while "data-goes-on" in text:
        text = step(client, address)
    return text


def test_a_selection_is_corrected_after_it_was_shown(client: Client) -> None:
    jobs = [JobFactory.create(project="wrong", partition=f"q{number % 2}") for number in range(3)]
    other = JobFactory.create(project="wrong")

    address = begin(client, "correct_jobs", "?q=project:wrong", *jobs)
    text = client.get(address).content.decode()
    assert "3 jobs selected" in text
    rows = re.findall(r'<th scope="row">(\w+)</th><td>(\w+)</td>\s*<td class="number">(\d+)</td>', text)
    assert rows == [("wrong", "q0", "2"), ("wrong", "q1", "1")]
    assert not LogEntry.objects.exists()
    text = step(client, address, begin="1", project="chem", partition="", note="ticket 4711")

    assert "3 of 3 jobs changed. Done." in text
    assert set(Job.objects.filter(pk__in=[job.pk for job in jobs]).values_list("project")) == {("chem",)}
    assert Job.objects.get(pk=other.pk).project == "wrong"
    assert "ticket 4711" in client.get(f"{LIST}{jobs[0].pk}/change/").content.decode()
    assert "ticket 4711" not in client.get(f"{LIST}{other.pk}/change/").content.decode()


@pytest.mark.parametrize(
    "data",
    [{}, {"note": "x"}, {"project": "chem"}, {"project": "x" * 256, "note": "x"}, {"project": "\0", "note": "x"}],
)
def test_what_cannot_be_is_asked_for_again(data: dict[str, str], client: Client) -> None:
    JobFactory.create()
    address = begin(client, "correct_jobs")
    assert "errorlist" in step(client, address, begin="1", **data)
    assert BulkChange.objects.get().state == BulkState.SELECTED
    assert not LogEntry.objects.exists()


def test_undoing_is_offered_and_done(client: Client) -> None:
    JobFactory.create_batch(3, project="wrong")
    address = begin(client, "correct_jobs", "?q=project:wrong")
    step(client, address, begin="1", project="chem", note="x")

    assert "possible" in client.get(f"{LIST}bulk/").content.decode()
    text = step(client, address, undo="1")

    assert "3 of 3 jobs restored. Done." in text
    assert {job.project for job in Job.objects.all()} == {"wrong"}
    assert 'name="undo"' not in text
    assert "Not done" in step(client, address, undo="1")


@pytest.mark.usefixtures("few")
def test_more_jobs_than_a_list_counts_are_selected_in_steps(client: Client) -> None:
    JobFactory.create_batch(7, project="wrong")
    JobFactory.create_batch(2)
    assert "Select all matching jobs" in client.get(f"{LIST}?q=project:wrong").content.decode()

    address = begin(client, "correct_jobs", "?q=project:wrong&p=1&e=1")
    text = client.get(address).content.decode()
    assert "data-goes-on" in text
    assert "Nothing is changed yet" in text
    text = through(client, address, project="chem", note="x")

    assert "7 of 7 jobs changed. Done." in text
    assert Job.objects.filter(project="chem").count() == 7
    assert LogEntry.objects.count() == 1


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("action", ["add_tag", "remove_tag", "delete_jobs", "archive_again"])
def test_other_actions_on_all_matching_jobs_go_in_steps_too(action: str, client: Client) -> None:
    tag = TagFactory.create(type="perf", name="old")
    JobFactory.create_batch(5, project="wrong", finished=True, monitoring_status=2, tags=[tag])
    kept = JobFactory.create()
    data = {
        "add_tag": {"type": "perf", "name": "bad"},
        "remove_tag": {"type": "perf", "name": "old"},
        "delete_jobs": {"confirm": "5"},
    }

    text = through(client, begin(client, action, "?q=project:wrong"), **data.get(action, {}))

    assert "Done." in text
    found = {
        "add_tag": JobTag.objects.filter(tag__name="bad").count() == 5,
        "remove_tag": not JobTag.objects.exists(),
        "delete_jobs": list(Job.objects.all()) == [kept],
        "archive_again": Job.objects.awaiting_archive().count() == 5,
    }
    assert found[action]
    assert LogEntry.objects.count() == 1


@pytest.mark.usefixtures("few")
def test_a_large_deletion_asks_for_the_number(client: Client) -> None:
    JobFactory.create_batch(5)
    text = through(client, begin(client, "delete_jobs"), confirm="4")
    assert "type 5 to confirm" in text
    assert Job.objects.count() == 5


@pytest.mark.usefixtures("few")
def test_a_large_deletion_warns_of_what_is_lost(client: Client) -> None:
    JobFactory.create_batch(3, project="wrong")
    JobFactory.create_batch(2, project="wrong", finished=True)
    JobFactory.create_batch(2, project="wrong", archived=True)
    JobFactory.create_batch(2, finished=True)
    address = begin(client, "delete_jobs", "?q=project:wrong")
    while "data-goes-on" in (text := step(client, address)):
        pass
    words = " ".join(text.split())
    assert "3 of them are still running: the report of the end will find no job." in words
    assert "2 of them wait for the archive and will not be archived." in words


@pytest.mark.usefixtures("few")
def test_a_stopped_change_waits_for_continue(client: Client) -> None:
    JobFactory.create_batch(6, project="wrong")
    address = begin(client, "correct_jobs")
    for _ in range(4):
        step(client, address)
    step(client, address, begin="1", project="chem", note="x")

    text = client.get(address).content.decode()
    assert "Stopped, unless another page goes on with it." in text
    assert "data-goes-on" not in text
    assert "not finished" in client.get(f"{LIST}bulk/").content.decode()
    while "Done." not in text:
        text = step(client, address)
    assert Job.objects.filter(project="chem").count() == 6


@pytest.mark.usefixtures("few")
def test_a_filter_that_is_gone_ends_the_selection_with_a_message(client: Client) -> None:
    tag = TagFactory.create()
    JobFactory.create_batch(5, tags=[tag])
    address = begin(client, "correct_jobs", f"?tag={tag.pk}")
    JobTag.objects.all().delete()
    Tag.objects.all().delete()

    text = step(client, address)

    assert "begin anew" in text or "0 jobs" in text
    assert Job.objects.filter(project="bio").count() == 5


def test_cancel_forgets_the_selection_and_leads_back(client: Client) -> None:
    JobFactory.create()
    address = begin(client, "correct_jobs", "?q=project:bio")
    response = client.post(address, {"forget": "1"})
    assert response["Location"] == f"{LIST}?q=project%3Abio"
    assert not BulkChange.objects.exists()
    assert not BulkPart.objects.exists()
    answer = client.get(address)
    assert (answer.status_code, "is forgotten" in answer.content.decode()) == (404, True)


def test_a_field_is_emptied_if_that_is_said_and_kept_if_nothing_is(client: Client) -> None:
    jobs = [JobFactory.create(project="wrong", partition="q1") for _ in range(2)]
    address = begin(client, "correct_jobs", "?q=project:wrong")

    text = step(client, address, begin="1", note="x")
    assert "expected a new project, a new partition, or both" in text
    text = step(client, address, begin="1", partition="q2", empty_partition="on", note="x")
    assert "Either a new partition, or none" in text
    text = step(client, address, begin="1", project=" ", empty_partition="on", note="x")

    assert "partition (empty)" in text
    assert "2 of 2 jobs changed. Done." in text
    assert set(Job.objects.values_list("project", "partition")) == {("wrong", "")}
    assert "partition: q1 → (empty)" in client.get(f"{LIST}{jobs[0].pk}/history/").content.decode()
    step(client, address, undo="1")
    assert set(Job.objects.values_list("project", "partition")) == {("wrong", "q1")}


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("button", [{"begin": "1", "project": "bio", "note": "y"}, {"forget": "1"}])
def test_a_second_page_of_a_change_that_was_begun_does_nothing_unsaid(button: dict[str, str], client: Client) -> None:
    JobFactory.create_batch(5, project="wrong")
    address = begin(client, "correct_jobs", "?q=project:wrong")
    for _ in range(4):
        step(client, address)
    step(client, address, begin="1", project="chem", note="x")
    changed = Job.objects.filter(project="chem").count()

    text = step(client, address, **button)

    assert "Not done: this change was begun already" in text
    assert (changed, Job.objects.filter(project="chem").count()) == (2, 2)
    assert LogEntry.objects.count() == 1


def test_a_change_that_was_forgotten_meanwhile_is_named(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    JobFactory.create(project="wrong")
    address = begin(client, "correct_jobs", "?q=project:wrong")
    load = JobBulk._allowed

    def forgotten_then(*arguments: Any) -> BulkChange:
        change = load(*arguments)
        forget(change)
        return change

    monkeypatch.setattr(JobBulk, "_allowed", forgotten_then)
    text = client.post(address, {"begin": "1", "project": "chem", "note": "x"}).content.decode()
    assert "there is no such bulk change any more" in text


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("action", ["add_tag", "remove_tag"])
def test_tags_of_many_jobs_are_undone_on_the_page(action: str, client: Client) -> None:
    tag = TagFactory.create(type="perf", name="bad")
    JobFactory.create_batch(5, project="wrong", tags=[tag] if action == "remove_tag" else [])
    address = begin(client, action, "?q=project:wrong")
    text = through(client, address, type="perf", name="bad")
    assert "5 of 5 jobs changed. Done." in text
    assert 'name="undo"' in text

    text = step(client, address, undo="1")
    while "Done." not in text:
        text = step(client, address)

    assert "5 of 5 jobs restored. Done." in text
    assert JobTag.objects.count() == (5 if action == "remove_tag" else 0)


def test_the_list_of_changes_leaves_out_selections_of_no_job(admin: User, client: Client) -> None:
    empty = select_all(
        begin_selection(kind=BulkKind.TAG, actor=Actor(admin.pk), query="", conditions=""), Job.objects.none()
    )
    address = f"{LIST}bulk/{empty.pk}/"
    assert "0 jobs selected" in client.get(address).content.decode()
    assert address not in client.get(f"{LIST}bulk/").content.decode()


def test_one_job_is_one_job(client: Client) -> None:
    JobFactory.create(project="wrong")
    address = begin(client, "correct_jobs", "?q=project:wrong")
    assert "1 of 1 job changed" in step(client, address, begin="1", project="chem", note="x")
    assert "1 of 1 job restored" in step(client, address, undo="1")
    titles = LogEntry.objects.order_by("pk").values_list("object_repr", flat=True)
    assert list(titles) == ["1 job corrected (project chem)", "1 job: correction undone (project chem)"]


def test_the_list_has_a_button_for_all_its_jobs_if_it_is_filtered(client: Client) -> None:
    JobFactory.create_batch(2)
    assert "Correct all" not in client.get(LIST).content.decode()
    assert 'value="Correct all 2 jobs"' in client.get(f"{LIST}?q=project:bio").content.decode()


def browser(person: str, login: Login, request: pytest.FixtureRequest) -> Client:
    """Return a person's browser."""
    return Client() if person == "nobody" else login(request.getfixturevalue(person))


@pytest.mark.parametrize("kind", BulkKind.values)
@pytest.mark.parametrize("person", PEOPLE)
def test_the_change_of_another_is_for_those_who_see_all_jobs_and_may_do_it(
    person: str, kind: str, admin: User, login: Login, request: pytest.FixtureRequest
) -> None:
    JobFactory.create(user="alice", project="bio")
    change = begin_selection(kind=BulkKind(kind), actor=Actor(admin.pk), query="q=secret", conditions="secret")
    select_all(change, Job.objects.all())
    client = browser(person, login, request)
    allowed = person == "admin" or (person == "carol" and kind in (BulkKind.TAG, BulkKind.UNTAG))
    refused = 302 if person in ("bench", "nobody") else 403

    for ask in (client.get, client.post):
        response = ask(f"{LIST}bulk/{change.pk}/")
        assert response.status_code == (200 if allowed else refused)
    assert allowed or BulkChange.objects.get().state == BulkState.SELECTED
    listed = client.get(f"{LIST}bulk/")
    assert listed.status_code == (200 if person in ("admin", "carol", "bob") else refused)
    assert (f"bulk/{change.pk}/".encode() in listed.content) is allowed


@pytest.mark.parametrize("person", PEOPLE[1:])
def test_the_list_offers_corrections_to_administrators_alone(
    person: str, login: Login, request: pytest.FixtureRequest
) -> None:
    job = JobFactory.create(user="alice", project="bio")
    client = browser(person, login, request)

    for data in ({"_selected_action": str(job.pk)}, {"_selected_action": "0", "select_across": "1"}):
        client.post(f"{LIST}?q=project:bio", {"action": "correct_jobs", "index": "0", **data})
    assert "Correct all" not in client.get(f"{LIST}?q=project:bio").content.decode()
    assert not BulkChange.objects.exists()


@pytest.mark.usefixtures("few")
def test_a_manager_tags_what_he_sees_and_no_number_tells_of_more(bob: User, login: Login) -> None:
    JobFactory.create_batch(5, project="bio", user="x")
    JobFactory.create_batch(5, project="chem", user="x")

    text = through(login(bob), begin(login(bob), "add_tag", "?q=user:x"), type="perf", name="bad")

    assert "5 of 5 jobs changed. Done." in text
    assert set(JobTag.objects.values_list("job__project")) == {("bio",)}


def test_forms_need_a_csrf_token(admin: User) -> None:
    JobFactory.create()
    change = begin_selection(kind=BulkKind.CORRECT, actor=Actor(admin.pk), query="", conditions="")
    select_all(change, Job.objects.all())
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin)
    data = {"project": "chem", "note": "x"}
    assert client.post(f"{LIST}bulk/{change.pk}/", data).status_code == 403
    assert Job.objects.get().project == "bio"


def test_a_page_takes_few_queries(client: Client, django_assert_max_num_queries: Any) -> None:
    JobFactory.create_batch(3)
    address = begin(client, "correct_jobs")
    for path in (address, f"{LIST}bulk/"):
        client.get(path)
        with django_assert_max_num_queries(8):
            client.get(path)
