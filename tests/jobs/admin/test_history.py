"""The history of a job: who changed what, when and why, also what came through the API."""

from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from jobs import history
from jobs.exceptions import InvalidJobError
from jobs.history import Actor
from jobs.messages import TagName
from jobs.models import Job
from jobs.tags.services import tag_job
from jobs.text import LATEST_TIME
from tests.support.admin_site import Login
from tests.support.clients import AppClient
from tests.support.factories import JobFactory, TagFactory, token_for

pytestmark = pytest.mark.django_db

LIST = "/admin/jobs/job/"


def messages_of(job: Job) -> list[str]:
    """Return the job's entries, newest first."""
    return [history.text_of(entry) for entry in history.of_job(job.pk)]


def note(client: Client, text: str, *jobs: Job) -> Any:
    """Add a note to jobs."""
    return client.post(f"{LIST}selection/note/", {"jobs": ",".join(str(job.pk) for job in jobs), "note": text})


@pytest.mark.parametrize("person", ["admin", "carol"])
def test_a_note_is_seen_by_all_who_see_the_job(
    person: str, alice: User, bob: User, login: Login, request: pytest.FixtureRequest
) -> None:
    job, other = JobFactory.create(), JobFactory.create()

    assert note(login(request.getfixturevalue(person)), "asked <b>the user</b>\nby mail", job).status_code == 302

    assert messages_of(job) == ["Noted.\nNote: asked <b>the user</b>\nby mail"]
    assert messages_of(other) == []
    for reader in (alice, bob):
        for page in ("change", "history"):
            text = login(reader).get(f"{LIST}{job.pk}/{page}/").content.decode()
            assert "asked &lt;b&gt;the user&lt;/b&gt;\nby mail" in text
            assert person in text
    assert "selection/note/" not in login(alice).get(f"{LIST}{job.pk}/change/").content.decode()


def test_a_note_goes_to_a_selection(carol: User, login: Login) -> None:
    jobs = JobFactory.create_batch(3)
    client = login(carol)

    form = client.post(LIST, {"action": "annotate", "_selected_action": [str(job.pk) for job in jobs]})
    assert "Add a note to 3 jobs." in form.content.decode()
    note(client, "rack 7 was hot", *jobs)

    assert [messages_of(job) for job in jobs] == [["Noted.\nNote: rack 7 was hot"]] * 3


@pytest.mark.parametrize("text", ["", " \n", "\0", "x" * 2001])
def test_a_note_that_is_none_is_asked_for_again(text: str, carol: User, login: Login) -> None:
    job = JobFactory.create()
    assert note(login(carol), text, job).status_code == 200
    assert messages_of(job) == []


def test_the_page_shows_the_newest_ten_first_and_links_to_all(admin: User, login: Login) -> None:
    job = JobFactory.create()
    client = login(admin)
    for number in range(11):
        note(client, f"note number {number}!", job)

    text = client.get(f"{LIST}{job.pk}/change/").content.decode()
    assert text.index("note number 10!") < text.index("note number 1!")
    assert "note number 0!" not in text
    assert "All entries" in text
    text = client.get(f"{LIST}{job.pk}/history/").content.decode()
    assert text.index("note number 10!") < text.index("note number 0!")


def test_tags_of_the_admin_are_recorded_for_the_jobs_that_changed(carol: User, login: Login) -> None:
    tag = TagFactory.create(type="perf", name="bad")
    has, gets = JobFactory.create(tags=[tag]), JobFactory.create()
    client = login(carol)
    row_ids = f"{has.pk},{gets.pk}"

    client.post(f"{LIST}selection/tag/", {"jobs": row_ids, "type": "perf", "name": "bad"})
    assert (messages_of(has), messages_of(gets)) == ([], ["Added tag perf:bad."])
    client.post(f"{LIST}selection/untag/", {"jobs": row_ids, "tag": tag.pk})
    assert messages_of(gets) == ["Removed tag perf:bad.", "Added tag perf:bad."]


def test_tags_through_the_api_are_recorded_with_user_and_token(anonymous: AppClient, bench: User) -> None:
    job = JobFactory.create()
    api = anonymous.as_(token_for(bench, name="classifier"))
    tags = [{"type": "perf", "name": "bad"}, {"type": "perf", "name": "io"}]

    for _ in range(2):  # the second adds nothing
        assert api.post(f"/api/jobs/tag_job/{job.pk}", tags).status == 200

    entry = history.of_job(job.pk).get()
    assert entry.user == bench
    prefix = bench.tokens.get().prefix
    assert history.text_of(entry) == f"Added tags perf:bad, perf:io.\nThrough API token {prefix}… (classifier)."


def test_a_deletion_through_the_api_is_recorded(api: AppClient, bench: User) -> None:
    job = JobFactory.create()

    assert api.delete(f"/api/jobs/delete_job/{job.pk}").status == 200

    entry = history.of_job(job.pk).get()
    assert (entry.user, entry.action_flag) == (bench, DELETION)
    assert "Through API token" in history.text_of(entry)


@pytest.mark.parametrize(
    ("when", "named"), [(1_800_000_000, "2027-01-15 08:00:00 UTC"), (LATEST_TIME, "3000-12-31 23:59:59 UTC")]
)
def test_a_deletion_before_a_time_through_the_api_is_one_entry(
    when: int, named: str, api: AppClient, bench: User
) -> None:
    JobFactory.create_batch(3)

    assert api.delete(f"/api/jobs/delete_job_before/{when}").json["msg"] == "Successfully deleted 3 jobs"

    entry = LogEntry.objects.get()
    assert entry.user == bench
    first, second = history.text_of(entry).splitlines()
    assert first == f"Deleted 3 jobs that started before {named}."
    assert second.startswith("Through API token ")


def test_entries_of_older_versions_and_of_django_are_shown_as_they_are(admin: User, login: Login) -> None:
    job = JobFactory.create()
    kind = ContentType.objects.get_for_model(Job)
    for text in ("Corrected.\nproject: a → b\nNote: [old]", '[{"changed": {"fields": ["Project"]}}]', "[odd", ""):
        LogEntry.objects.create(
            user=admin, content_type=kind, object_id=str(job.pk), action_flag=CHANGE, change_message=text
        )

    assert messages_of(job) == ["", "[odd", "Changed Project.", "Corrected.\nproject: a → b\nNote: [old]"]
    text = login(admin).get(f"{LIST}{job.pk}/history/").content.decode()
    assert "project: a → b" in text
    assert "Changed Project." in text


def test_what_somebody_did_last_is_shown_in_sentences(admin: User, login: Login) -> None:
    job = JobFactory.create()
    client = login(admin)
    note(client, "rack 7", job)
    text = client.get("/admin/").content.decode()
    assert "Noted.\nNote: rack 7" in text
    assert "&quot;text&quot;" not in text


def test_the_last_change_of_a_field_is_no_note_that_reads_like_one(admin: User, bob: User) -> None:
    job = JobFactory.create()
    long = "metaData." + "k" * 200
    change = history.Change("project", "a", "b")
    history.record(Actor(bob.pk), [job.pk], "Corrected.", changes=[change, history.Change(long, "(none)", "x")])
    history.record(Actor(admin.pk), [job.pk], "Noted.", note="see\nproject: of bob\npartition: unknown")

    found = history.last_change(job.pk, "project")
    assert found
    assert found.user == bob
    assert history.last_change(job.pk, long) == found
    assert history.last_change(job.pk, long[:-1]) is None
    assert history.last_change(job.pk, "partition") is None
    assert history.last_change(JobFactory.create().pk, "project") is None


@pytest.mark.parametrize("statistics", [False, True])
def test_a_job_s_history_is_found_by_its_index(statistics: bool, admin: User) -> None:
    kind = ContentType.objects.get_for_model(Job)
    message = history.encode(history.Message("Noted.", note="x" * 100))
    LogEntry.objects.bulk_create(
        LogEntry(user=admin, content_type=kind, object_id=str(row), action_flag=CHANGE, change_message=message)
        for row in range(5000)
    )
    explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    with CaptureQueriesContext(connection) as queries:
        assert history.last_change(7, "project") is None
    (sql,) = [query["sql"] for query in queries if "django_admin_log" in query["sql"]]
    with connection.cursor() as cursor:
        if statistics:
            cursor.execute("ANALYZE")
        cursor.execute(f"{explain} {sql[sql.index('SELECT') :]}")
        plan = "\n".join(str(row[-1]) for row in cursor.fetchall())
    assert "jobs_history_of_object" in plan


def test_starts_and_stops_write_no_history(api: AppClient) -> None:
    row_id = api.started()
    assert api.post(f"/api/jobs/stop_job/{row_id}", {"stopTime": 1_700_000_060, "jobState": "completed"}).status == 200
    assert not LogEntry.objects.exists()


def test_what_is_refused_leaves_no_entry(admin: User) -> None:
    job = JobFactory.create()
    with pytest.raises(InvalidJobError):
        tag_job(row_id=job.pk, tags=[TagName(type="", name="x")], actor=Actor(admin.pk))
    assert messages_of(job) == []


@pytest.mark.parametrize("number", [1, 2500])
def test_one_statement_writes_the_entries_of_all_jobs(
    number: int, admin: User, django_assert_max_num_queries: Any
) -> None:
    history.of_job(1)  # the content type is known from then on
    Job.objects.bulk_create(
        [Job(job_id=row + 1, start_time=1, cluster="c", num_nodes=1, resources="[]") for row in range(number)]
    )
    row_ids = list(Job.objects.values_list("pk", flat=True))

    with django_assert_max_num_queries(1):
        history.record(Actor(admin.pk), row_ids, "Noted.")

    assert LogEntry.objects.count() == number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ("", "(empty)"),
        ("a\nb", "a⏎b"),
        ("x" * 80, "x" * 80),
        ("x" * 81, f"{'x' * 80}… (81 characters)"),
    ],
)
def test_values_are_shown_on_one_line(value: str | None, text: str) -> None:
    assert history.shown(value) == text
