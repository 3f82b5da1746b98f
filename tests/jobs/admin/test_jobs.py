"""The job list: who sees which jobs, what it finds, what it costs."""

from typing import Any

import pytest
from django.contrib.admin.templatetags.admin_list import results
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import User
from jobs.admin.changelist import JobPages
from jobs.models import Job, ListColumns
from tests.support.admin_site import Login
from tests.support.factories import JobFactory, TagFactory, UserFactory

pytestmark = pytest.mark.django_db

LIST = "/admin/jobs/job/"


def listed(client: Client, **query: Any) -> set[int]:
    """Return the job ids of the list."""
    response = client.get(LIST, query)
    assert response.status_code == 200, response
    return {job.job_id for job in response.context["cl"].result_list}


@pytest.fixture
def four_jobs() -> dict[str, Job]:
    """Return jobs of two users and three projects."""
    return {
        "alice-bio": JobFactory.create(job_id=1, user="alice", project="bio"),
        "alice-chem": JobFactory.create(job_id=2, user="alice", project="chem"),
        "charlie-bio": JobFactory.create(job_id=3, user="charlie", project="bio"),
        "charlie-cfd": JobFactory.create(job_id=4, user="charlie", project="cfd"),
    }


@pytest.mark.parametrize(
    ("person", "seen"), [("admin", {1, 2, 3, 4}), ("carol", {1, 2, 3, 4}), ("bob", {1, 3}), ("alice", {1, 2})]
)
def test_list_page_and_autocomplete_show_what_the_role_may_see(
    person: str, seen: set[int], four_jobs: dict[str, Job], login: Login, request: pytest.FixtureRequest
) -> None:
    client = login(request.getfixturevalue(person))

    assert listed(client) == seen
    assert listed(client, q="user:charlie") == {3, 4} & seen
    for job in four_jobs.values():
        page = client.get(f"{LIST}{job.pk}/change/")
        history = client.get(f"{LIST}{job.pk}/history/")
        assert page.status_code == history.status_code == (200 if job.job_id in seen else 302)
    completed = client.get(
        reverse("admin:autocomplete"), {"app_label": "jobs", "model_name": "jobtag", "field_name": "job", "term": ""}
    )
    if completed.status_code == 200:
        assert len(completed.json()["results"]) == len(seen)


@pytest.mark.parametrize("person", ["bench", None])
def test_who_is_no_staff_is_sent_to_the_login_page(
    person: str | None, login: Login, request: pytest.FixtureRequest
) -> None:
    client = login(request.getfixturevalue(person)) if person else Client()

    for path in (LIST, "/admin/", "/admin/accounts/user/", "/admin/accounts/apitoken/add/"):
        response = client.get(path)
        assert response.status_code == 302
        assert response["Location"].startswith("/admin/login/")


def test_a_user_with_the_role_api_alone_cannot_log_in(client: Client, bench: User) -> None:
    bench.set_password("a long enough one")
    bench.save()

    response = client.post("/admin/login/", {"username": "bench", "password": "a long enough one"})

    assert response.status_code == 200
    page = response.content.decode()
    assert "This account has no role that may use this site" in page
    assert "staff" not in page


@pytest.mark.parametrize(
    ("person", "actions"),
    [
        (
            "admin",
            {
                "compare",
                "correct_jobs",
                "add_tag",
                "remove_tag",
                "annotate",
                "stop_jobs",
                "archive_again",
                "delete_jobs",
            },
        ),
        ("carol", {"compare", "add_tag", "remove_tag", "annotate"}),
        ("bob", {"compare", "add_tag", "remove_tag"}),
        ("alice", {"compare"}),
    ],
)
def test_actions_follow_the_role(person: str, actions: set[str], login: Login, request: pytest.FixtureRequest) -> None:
    JobFactory.create(user="alice", project="bio")

    form = login(request.getfixturevalue(person)).get(LIST).context["action_form"]

    offered = {name for name, _ in form.fields["action"].choices if name} if form else set()
    assert offered == actions


@pytest.mark.parametrize("person", ["admin", "carol", "bob", "alice"])
def test_nobody_adds_or_edits_jobs(person: str, login: Login, request: pytest.FixtureRequest) -> None:
    job = JobFactory.create(user="alice", project="bio")
    client = login(request.getfixturevalue(person))

    assert client.get(f"{LIST}add/").status_code == 403
    assert client.post(f"{LIST}{job.pk}/change/", {"user": "charlie"}).status_code == 403
    assert Job.objects.get().user == "alice"


def test_the_number_of_queries_does_not_depend_on_the_rows(
    admin: User, login: Login, django_assert_max_num_queries: Any
) -> None:
    client = login(admin)
    tags = TagFactory.create_batch(3)
    JobFactory.create(tags=tags)
    with django_assert_max_num_queries(12) as few:
        client.get(LIST)
    JobFactory.create_batch(40, tags=tags)

    with CaptureQueriesContext(few.connection) as many:
        client.get(LIST)

    assert len(many) == len(few)
    rows = [query["sql"] for query in many if 'FROM "jobs_job"' in query["sql"] and "LIMIT" in query["sql"]]
    assert rows
    assert not any(column in sql for sql in rows for column in ("meta_data", "statistics", "resources"))


@pytest.mark.parametrize("person", ["admin", "alice"])
@pytest.mark.parametrize("query", [{}, {"user": "alice", "q": "project:<a&b>,bio"}])
def test_rows_are_those_of_djangos_own_list(
    person: str, query: dict[str, str], login: Login, request: pytest.FixtureRequest
) -> None:
    user = request.getfixturevalue(person)
    # Both have ended: the duration of one that runs would differ by the second.
    job = JobFactory.create(user="alice", project="<a&b>", cluster="c<d", archived=True)
    job.tags.add(TagFactory.create(name='"quoted"'))
    JobFactory.create(user="alice", project="bio", finished=True)
    for names in ("", "hosts,nodes,energy,metric:flops_any"):
        ListColumns.objects.update_or_create(owner=user, defaults={"names": names})
        page = login(user).get(LIST, query)
        rows = ["".join(cells) for cells in results(page.context["cl"])]
        assert len(rows) == 2
        assert [row for row in rows if f"<tr>{row}</tr>" not in page.content.decode()] == []


def test_counting_stops_at_a_limit(admin: User, login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JobPages, "limit", 60)
    client = login(admin)
    JobFactory.create_batch(60)
    assert "Select all 60 jobs" in client.get(LIST).content.decode()
    JobFactory.create()

    response = client.get(LIST)

    assert "more than 60 jobs" in response.content.decode()
    assert "Select all 60" not in response.content.decode()
    assert client.get(LIST, {"p": 2}).status_code == 200


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"q": "1 2"}, {1, 2}),
        ({"q": "alice"}, {1, 2}),
        ({"q": "bio"}, {1, 3}),
        ({"q": "user:alice project:bio"}, {1}),
        ({"q": "alice 2"}, {2}),
        ({"q": "ali"}, set()),
        ({"q": "99999999999999999999"}, set()),
        ({"q": "host:n01"}, {1, 2, 3, 4}),
        ({"q": "host:n0"}, set()),
        ({"user": "charlie"}, {3, 4}),
        ({"project": "bio", "user": "charlie"}, {3}),
        ({"state": "running"}, {1, 2, 3}),
        ({"state": "failed"}, {4}),
        ({"archiving": "waiting"}, set()),
        ({"archiving": "failed"}, {4}),
        ({"cluster": "testcluster"}, {1, 2, 3, 4}),
        ({"cluster": "elsewhere"}, set()),
        ({"started": "30d"}, set()),
    ],
)
def test_search_and_filters(
    query: dict[str, str], found: set[int], four_jobs: dict[str, Job], admin: User, login: Login
) -> None:
    Job.objects.filter(job_id=4).update(job_state="failed", monitoring_status=2)

    assert listed(login(admin), **query) == found


def test_a_search_that_is_not_understood_says_so(admin: User, login: Login) -> None:
    page = login(admin).get(LIST, {"q": "hots:n01"}).content.decode()

    assert "was not understood: &#x27;hots&#x27; is no field: did you mean host:?" in page
    assert "No matching jobs" not in page
    assert "0 jobs" not in page


def test_a_filter_by_tag_finds_its_jobs(admin: User, login: Login) -> None:
    tag = TagFactory.create()
    job = JobFactory.create(tags=[tag])
    JobFactory.create()

    assert listed(login(admin), tag=tag.pk) == {job.job_id}


def test_a_user_is_offered_no_tags_of_jobs_of_others(alice: User, login: Login) -> None:
    mine, other = TagFactory.create(name="mine"), TagFactory.create(name="secret-of-others")
    JobFactory.create(user="alice", tags=[mine])
    JobFactory.create(user="charlie", tags=[other])
    client = login(alice)

    assert "secret-of-others" not in client.get(LIST).content.decode()
    assert client.get(LIST, {"tag": other.pk}).status_code == 302  # refused as an unknown value
    assert client.get("/admin/jobs/tag/").status_code == 403


@pytest.mark.parametrize("query", ["meta_data__icontains=x", "state=nonsense", "tag=abc", "array_job_id=x"])
def test_a_condition_that_is_no_filter_is_refused(query: str, admin: User, login: Login) -> None:
    response = login(admin).get(f"{LIST}?{query}", follow=True)

    assert response.status_code == 400 or "had an invalid filter or page" in response.content.decode()


def test_the_clusters_to_filter_by_are_those_of_the_archive(admin: User, login: Login, cluster: Any) -> None:
    UserFactory.create()
    assert "?cluster=testcluster" in login(admin).get(LIST).content.decode()


def test_a_start_beyond_any_calendar_does_not_break_the_list(admin: User, login: Login) -> None:
    job = JobFactory.create(start_time=2**62, finished=True)
    client = login(admin)

    assert "no valid time" in client.get(LIST).content.decode()
    assert "no valid time" in client.get(f"{LIST}{job.pk}/change/").content.decode()


def test_an_empty_list_says_where_jobs_come_from(admin: User, login: Login) -> None:
    assert "No jobs yet" in login(admin).get(LIST).content.decode()
