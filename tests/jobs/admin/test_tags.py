"""The tag pages: counts, rights, and that the archive follows."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from jobs.admin import tags
from jobs.models import ArchiveTask, Job, JobTag, Tag
from jobs.tags import counts, services
from tests.support.admin_site import Login
from tests.support.factories import JobFactory, TagFactory

pytestmark = pytest.mark.django_db

LIST = "/admin/jobs/tag/"


@pytest.mark.parametrize(
    ("person", "statuses"),
    [
        ("admin", {"": 200, "add/": 200, "delete/": 200}),
        ("carol", {"": 200, "add/": 200, "delete/": 403}),
        ("bob", {"": 200, "add/": 403, "delete/": 403}),
        ("alice", {"": 403, "add/": 403, "delete/": 403}),
    ],
)
def test_rights_follow_the_role(
    person: str, statuses: dict[str, int], login: Login, request: pytest.FixtureRequest
) -> None:
    tag = TagFactory.create()
    client = login(request.getfixturevalue(person))

    found = {path: client.get(LIST + (f"{tag.pk}/{path}" if path == "delete/" else path)) for path in statuses}

    assert {path: response.status_code for path, response in found.items()} == statuses


@pytest.mark.parametrize("person", ["carol", "bob", "alice"])
def test_only_admins_rename_merge_and_delete(person: str, login: Login, request: pytest.FixtureRequest) -> None:
    one, two = TagFactory.create_batch(2)
    JobFactory.create(user="alice", project="bio", tags=[one])
    client = login(request.getfixturevalue(person))
    both = f"{one.pk},{two.pk}"

    answers = [
        client.post(f"{LIST}{one.pk}/rename/", {"type": "class", "name": "renamed"}),
        client.post(f"{LIST}{one.pk}/change/", {"type": "class", "name": "renamed"}),
        client.post(f"{LIST}selection/merge/", {"tags": both, "into": two.pk}),
        client.post(f"{LIST}selection/merge/", {"tags": both, "into": two.pk, "done": "1"}),
        client.post(f"{LIST}selection/delete/", {"tags": both}),
        client.post(f"{LIST}{one.pk}/delete/", {"post": "yes"}),
    ]
    for action in ("merge_tags", "delete_tags", "delete_selected"):
        client.post(LIST, {"action": action, "_selected_action": [one.pk, two.pk], "post": "yes"})

    assert {answer.status_code for answer in answers} == {403}
    assert {tag.name for tag in Tag.objects.all()} == {one.name, two.name}
    assert JobTag.objects.get().tag == one
    page = client.get(f"{LIST}{one.pk}/change/").content.decode()
    assert "Rename" not in page
    assert "Delete" not in page


@pytest.mark.parametrize("path", ["1/rename/", "selection/merge/", "selection/delete/"])
def test_what_changes_tags_is_sent_by_a_form_of_this_site(path: str, admin: User, login: Login) -> None:
    assert login(admin).get(LIST + path).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin)
    assert strict.post(LIST + path).status_code == 403


def test_the_count_is_of_jobs_that_the_viewer_sees(admin: User, bob: User, login: Login) -> None:
    tag = TagFactory.create()
    JobFactory.create(project="bio", tags=[tag])
    JobFactory.create(project="cfd", tags=[tag])

    assert f'?tag={tag.pk}">2</a>' in login(admin).get(LIST).content.decode()
    assert f'?tag={tag.pk}">1</a>' in login(bob).get(LIST).content.decode()


def test_the_number_of_queries_does_not_depend_on_the_rows(
    admin: User, login: Login, django_assert_max_num_queries: Any
) -> None:
    client = login(admin)
    TagFactory.create()
    with django_assert_max_num_queries(9) as few:
        client.get(LIST)
    JobFactory.create_batch(5, tags=TagFactory.create_batch(20))

    with CaptureQueriesContext(few.connection) as many:
        client.get(LIST)

    assert len(many) == len(few)


def test_a_count_ends_at_the_limit(admin: User, login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "MOST_COUNTED", 2)
    tag = TagFactory.create()
    JobFactory.create_batch(3, tags=[tag])

    assert f'?tag={tag.pk}">more than 2</a>' in login(admin).get(LIST).content.decode()
    assert f'?tag={tag.pk}">more than 2</a>' in login(admin).get(f"{LIST}{tag.pk}/change/").content.decode()


@pytest.mark.parametrize("path", ["", "{}/change/", "{}/delete/", "{}/history/"])
def test_each_page_needs_few_queries(path: str, admin: User, login: Login, django_assert_max_num_queries: Any) -> None:
    tag = TagFactory.create()
    JobFactory.create_batch(3, tags=[tag])
    client = login(admin)

    with django_assert_max_num_queries(10):
        assert client.get(LIST + path.format(tag.pk)).status_code == 200


def test_html_in_a_tag_is_text(admin: User, login: Login) -> None:
    tag = TagFactory.create(type="<b>x</b>", name="<script>alert(1)</script>")
    other = TagFactory.create()
    JobFactory.create(tags=[tag, other])
    client = login(admin)
    chosen = {"action": "merge_tags", "_selected_action": [tag.pk, other.pk]}

    pages = [client.get(LIST), client.get(f"{LIST}{tag.pk}/change/"), client.get(f"{LIST}{tag.pk}/delete/")]
    pages += [client.post(LIST, chosen), client.post(f"{LIST}selection/delete/", {"tags": tag.pk}, follow=True)]

    for page in pages:
        assert "<script>alert" not in page.content.decode()
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.content.decode()


def test_deleting_a_tag_takes_it_from_jobs_and_lets_the_archive_follow(admin: User, login: Login) -> None:
    tag = TagFactory.create()
    archived = JobFactory.create(archived=True, tags=[tag])
    JobFactory.create(tags=[tag])
    client = login(admin)

    question = client.get(f"{LIST}{tag.pk}/delete/").content.decode()
    response = client.post(f"{LIST}selection/delete/", {"tags": tag.pk}, follow=True)

    assert '<td class="number">2</td>' in question
    assert f"Deleted {tag} from 2 jobs." in response.content.decode()
    assert not Tag.objects.exists()
    assert Job.objects.count() == 2
    assert [task.job_id for task in ArchiveTask.objects.all()] == [archived.pk]


def test_the_page_of_a_deletion_asks_and_deletes_nothing(admin: User, login: Login) -> None:
    tag = TagFactory.create()

    login(admin).post(f"{LIST}{tag.pk}/delete/", {"post": "yes"})

    assert Tag.objects.get() == tag


def test_renaming_a_tag_lets_the_archive_follow(admin: User, login: Login) -> None:
    tag = TagFactory.create()
    job = JobFactory.create(archived=True, tags=[tag])

    login(admin).post(f"{LIST}{tag.pk}/rename/", {"type": "class", "name": "renamed"})

    assert (Tag.objects.get().pk, Tag.objects.get().name) == (tag.pk, "renamed")
    assert ArchiveTask.objects.get().job_id == job.pk


@pytest.mark.parametrize(("type_", "name"), [("", "x"), ("x", " "), ("x", "y" * 256)])
def test_a_name_that_cannot_be_is_refused(type_: str, name: str, admin: User, login: Login) -> None:
    tag = TagFactory.create()

    response = login(admin).post(f"{LIST}{tag.pk}/rename/", {"type": type_, "name": name}, follow=True)

    assert "needs a type and a name" in response.content.decode()
    assert Tag.objects.get().name == tag.name


def test_renaming_to_the_name_of_another_tag_asks_whether_to_merge(admin: User, login: Login) -> None:
    tag, other = TagFactory.create_batch(2)
    client = login(admin)

    question = client.post(f"{LIST}{tag.pk}/rename/", {"type": other.type, "name": other.name}).content.decode()

    assert f'value="{other.pk}" id="into-{other.pk}" checked' in question
    assert Tag.objects.count() == 2


def test_two_tags_become_one(admin: User, login: Login) -> None:
    kept, old = TagFactory.create_batch(2)
    both, one = JobFactory.create(archived=True, tags=[kept, old]), JobFactory.create(archived=True, tags=[old])
    client = login(admin)

    question = client.post(LIST, {"action": "merge_tags", "_selected_action": [kept.pk, old.pk]}).content.decode()
    sent = {"tags": f"{kept.pk},{old.pk}", "into": kept.pk}
    response = client.post(f"{LIST}selection/merge/", sent, follow=True)

    assert "The tag to keep" in question
    assert f"Merged into {kept}; 2 jobs changed." in response.content.decode()
    assert list(Tag.objects.all()) == [kept]
    assert list(JobTag.objects.order_by("job_id").values_list("job_id", "tag_id")) == [
        (both.pk, kept.pk),
        (one.pk, kept.pk),
    ]
    assert ArchiveTask.objects.count() == 2


def test_one_tag_is_not_merged(admin: User, login: Login) -> None:
    tag = TagFactory.create()

    response = login(admin).post(LIST, {"action": "merge_tags", "_selected_action": [tag.pk]}, follow=True)

    assert "Select two tags or more" in response.content.decode()


def test_merging_into_a_tag_that_is_gone_changes_nothing(admin: User, login: Login) -> None:
    tag = TagFactory.create()

    response = login(admin).post(f"{LIST}selection/merge/", {"tags": tag.pk, "into": 4711}, follow=True)

    assert "does not exist any more" in response.content.decode()
    assert Tag.objects.get() == tag


@pytest.mark.parametrize("tags", ["", "x", "1,,2", "1;2"])
def test_a_forged_selection_is_refused(tags: str, admin: User, login: Login) -> None:
    tag = TagFactory.create()

    assert login(admin).post(f"{LIST}selection/delete/", {"tags": tags}).status_code == 403
    assert Tag.objects.get() == tag


def send_on(client: Client, response: Any) -> Any:
    """Send the form of a progress page, as its script and its button do."""
    context = response.context
    fields = {"tags": context["tag_ids"], "done": context["done"]}
    if "target" in context:
        fields["into"] = context["target"].pk
    return client.post(context["action_url"], fields)


@pytest.fixture
def small_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a request do one batch of two jobs."""
    monkeypatch.setattr(services, "BATCH", 2)
    monkeypatch.setattr(tags, "_ROUND", 0)


def test_a_large_merge_goes_on_by_a_page_until_it_is_done(small_rounds: None, admin: User, login: Login) -> None:
    kept, old = TagFactory.create_batch(2)
    JobFactory.create_batch(5, archived=True, tags=[old])
    client = login(admin)

    response = client.post(f"{LIST}selection/merge/", {"tags": f"{kept.pk},{old.pk}", "into": kept.pk})
    seen = []
    while response.status_code == 200:
        seen.append(response.context["done"])
        assert "jobs/progress.js" in response.content.decode()
        response = send_on(client, response)

    assert seen == [2, 4, 5]
    assert list(Tag.objects.all()) == [kept]
    assert JobTag.objects.filter(tag=kept).count() == ArchiveTask.objects.count() == 5


def test_a_large_rename_and_a_large_deletion_go_on_by_a_page_too(small_rounds: None, admin: User, login: Login) -> None:
    old = TagFactory.create()
    JobFactory.create_batch(5, tags=[old])
    client = login(admin)

    response = client.post(f"{LIST}{old.pk}/rename/", {"type": "perf", "name": "new"})
    while response.status_code == 200:
        response = send_on(client, response)
    new = Tag.objects.get()
    assert (str(new), JobTag.objects.filter(tag=new).count()) == ("perf:new", 5)

    response = client.post(f"{LIST}selection/delete/", {"tags": new.pk})
    while response.status_code == 200:
        response = send_on(client, response)
    assert not Tag.objects.exists()


def test_the_history_tells_who_renamed_merged_and_deleted(small_rounds: None, admin: User, login: Login) -> None:
    kept, old, small = TagFactory.create_batch(3)
    JobFactory.create_batch(3, tags=[old])
    client = login(admin)

    client.post(f"{LIST}{small.pk}/rename/", {"type": "perf", "name": "few"})
    response = client.post(f"{LIST}selection/merge/", {"tags": old.pk, "into": kept.pk})
    while response.status_code == 200:
        response = send_on(client, response)
    client.post(f"{LIST}selection/delete/", {"tags": kept.pk})

    entries = LogEntry.objects.filter(user=admin).order_by("pk").values_list("object_repr", "change_message")
    assert [(what, message) for what, message in entries if message] == [
        ("perf:few", f"Renamed from {small}."),
        (str(old), f"Merging into {kept} started."),
        (str(old), f"Merged into {kept}."),
        (str(kept), f"Merged {old} into it."),
        (str(kept), "Deletion started."),
    ]
    assert "Renamed from" in client.get(f"{LIST}{small.pk}/history/").content.decode()
