"""The pages of rules: who may see and change them, what is refused, and how the jobs that are there are tagged."""

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from accounts.models import User
from jobs.models import Job, JobTag, Tag
from jobs.records import BulkChange, TagRule
from tests.support.admin_site import Login
from tests.support.factories import JobFactory, TagFactory

pytestmark = pytest.mark.django_db

PAGE = "/admin/jobs/tagrule/"
DATA = {"words": "state:failed  user:alice", "type": "perf", "name": "bad", "is_enabled": "on"}


@pytest.fixture
def client(admin: User, login: Login) -> Client:
    """Return the administrator's browser."""
    return login(admin)


def rule(words: str = "project:bio", error: str = "") -> TagRule:
    """Return a rule."""
    return TagRule.objects.create(words=words, tag=TagFactory.create(type="perf", name="bad"), error=error)


def test_a_rule_is_made_with_its_tag_changed_and_deleted(client: Client) -> None:
    assert PAGE in client.get("/admin/jobs/tag/").content.decode()
    assert client.get(f"{PAGE}add/").status_code == 200
    client.post(f"{PAGE}add/", DATA)

    made = TagRule.objects.get()
    assert (made.words, str(made.tag), made.is_enabled) == ("state:failed user:alice", "perf:bad", True)
    text = client.get(f"{PAGE}{made.pk}/change/").content.decode()
    assert 'value="bad"' in text
    assert "/admin/jobs/job/?q=state%3Afailed%20user%3Aalice" in text or "q=state%3Afailed+user%3Aalice" in text
    client.post(f"{PAGE}{made.pk}/change/", DATA | {"name": "worse", "is_enabled": ""})
    made.refresh_from_db()
    assert (str(made.tag), made.is_enabled) == ("perf:worse", False)
    client.post(f"{PAGE}{made.pk}/delete/", {"post": "yes"})
    assert not TagRule.objects.exists()
    assert Tag.objects.count() == 2
    assert LogEntry.objects.count() == 3


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"words": ""}, "This field is required"),
        ({"words": "alice"}, "expected a field before it"),
        ({"words": "colour:blue"}, "is no field"),
        ({"words": "nodes:many"}, "expected a number"),
        ({"words": f"name:{'x' * 1000}"}, "at most 1000 characters"),
        ({"name": " "}, "This field is required"),
        ({"type": "x" * 256}, "at most 255 characters"),
        ({"words": "project:bio"}, "such a rule already"),
    ],
)
def test_what_cannot_be_is_asked_for_again(data: dict[str, str], text: str, client: Client) -> None:
    rule()
    answer = client.post(f"{PAGE}add/", DATA | data).content.decode()
    assert text in answer
    assert TagRule.objects.count() == 1


def test_what_is_wrong_with_a_rule_is_said(client: Client) -> None:
    broken = rule(error="'x' is no field")

    text = client.get(PAGE).content.decode()

    assert "is no field" in text
    assert "This rule tags no jobs" in client.get(f"{PAGE}{broken.pk}/change/").content.decode()


def test_a_rule_whose_tag_was_deleted_is_shown_and_can_be_given_another(client: Client) -> None:
    gone = rule()
    Tag.objects.all().delete()
    assert "its tag was deleted" in client.get(PAGE).content.decode()
    assert "its tag was deleted" in client.get(f"{PAGE}{gone.pk}/change/").content.decode()
    assert client.post(f"{PAGE}{gone.pk}/apply/").status_code == 302
    assert not BulkChange.objects.exists()
    client.post(f"{PAGE}{gone.pk}/change/", DATA)
    gone.refresh_from_db()
    assert str(gone.tag) == "perf:bad"


def test_the_jobs_that_are_there_are_counted_and_then_tagged(client: Client) -> None:
    found = rule()
    JobFactory.create_batch(3, project="bio")
    JobFactory.create(project="chem")

    address = client.post(f"{PAGE}{found.pk}/apply/")["Location"]
    client.post(address)
    text = client.get(address).content.decode()
    assert "3 jobs selected: project:bio" in re.sub(r"\s+", " ", text).replace("selected :", "selected:")
    assert 'value="bad"' in text
    assert not JobTag.objects.exists()
    text = client.post(address, {"begin": "1", "type": "perf", "name": "bad"}).content.decode()

    assert "3 of 3 jobs changed. Done." in text
    assert set(Job.objects.filter(tags=found.tag).values_list("project")) == {("bio",)}


@pytest.mark.parametrize(
    ("person", "listed", "add", "change", "apply"),
    [
        ("admin", 200, 200, 302, 302),
        ("carol", 200, 200, 403, 302),
        ("bob", 403, 403, 403, 403),
        ("alice", 403, 403, 403, 403),
        ("bench", 302, 302, 302, 302),
    ],
)
def test_rules_are_for_those_who_see_all_jobs(
    person: str, listed: int, add: int, change: int, apply: int, login: Login, request: pytest.FixtureRequest
) -> None:
    found = rule()
    client = login(request.getfixturevalue(person))

    assert client.get(PAGE).status_code == listed
    assert client.get(f"{PAGE}{found.pk}/change/").status_code == listed
    assert client.get(f"{PAGE}add/").status_code == add
    assert client.post(f"{PAGE}{found.pk}/change/", DATA).status_code == change
    assert client.post(f"{PAGE}{found.pk}/apply/").status_code == apply
    assert client.post(f"{PAGE}{found.pk}/delete/", {"post": "yes"}).status_code == change
    assert BulkChange.objects.exists() is (person in ("admin", "carol"))
    assert TagRule.objects.exists() is (person != "admin")
    assert client.get(f"{PAGE}?tag__jobs__user=alice").status_code in (302, 400, 403)


def test_the_list_of_tags_leads_to_rules_for_those_who_may_see_them(bob: User, carol: User, login: Login) -> None:
    TagFactory.create()
    assert PAGE in login(carol).get("/admin/jobs/tag/").content.decode()
    assert PAGE not in login(bob).get("/admin/jobs/tag/").content.decode()


def test_the_pages_of_jobs_and_tags_name_the_rules_to_those_who_may_see_them(
    admin: User, bob: User, login: Login
) -> None:
    found = rule("state:failed user:alice")
    TagRule.objects.create(words="state:completed", tag=found.tag, is_enabled=False)
    TagRule.objects.create(words="colour:blue", tag=found.tag)
    rule_of_another = TagRule.objects.create(words="state:failed", tag=TagFactory.create())
    failed = {"user": "alice", "project": "bio", "finished": True, "job_state": "failed"}
    job, other = (JobFactory.create(tags=tags, **failed) for tags in ([found.tag], []))
    page = f"/admin/jobs/job/{job.pk}/change/"

    text = login(admin).get(page).content.decode()
    assert f'By rules:\n      <a href="{PAGE}{found.pk}/change/">state:failed user:alice</a> (perf:bad)</span>' in text
    assert f"{PAGE}{rule_of_another.pk}/" not in text
    assert "By rules" not in login(admin).get(f"/admin/jobs/job/{other.pk}/change/").content.decode()
    text = login(admin).get(f"/admin/jobs/tag/{found.tag_id}/change/").content.decode()
    assert [words in text for words in ("state:failed user:alice", "state:completed</a> (off)")] == [True, True]
    assert "No rule" in login(admin).get(f"/admin/jobs/tag/{TagFactory.create().pk}/change/").content.decode()
    text = login(admin).get(f"/admin/jobs/tag/{found.tag_id}/delete/").content.decode()
    assert "2 <a" in text
    assert "give\n    it to jobs, and will do nothing then" in text

    for path in (page, f"/admin/jobs/tag/{found.tag_id}/change/"):
        answer = login(bob).get(path)
        assert (answer.status_code, "state:failed user:alice" in answer.content.decode()) == (200, False)


def test_who_cannot_take_a_rule_back_is_told_so_before(carol: User, admin: User, login: Login) -> None:
    assert "Administrators alone can change a rule" in login(carol).get(f"{PAGE}add/").content.decode()
    assert "Administrators alone" not in login(admin).get(f"{PAGE}add/").content.decode()


def test_a_list_of_many_rules_takes_few_queries(client: Client, django_assert_max_num_queries: Any) -> None:
    for number in range(20):
        TagRule.objects.create(words=f"nodes:{number}", tag=TagFactory.create())
    client.get(PAGE)
    with django_assert_max_num_queries(7):
        client.get(PAGE)
