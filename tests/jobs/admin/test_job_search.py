"""The search of the job list: going on, one job at once, conditions, order and columns, each for every role."""

import re
import time
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from jobs.admin import changelist
from jobs.admin.changelist import JobPages
from jobs.admin.columns import all_columns
from jobs.models import Job, ListColumns
from jobs.search import find
from tests.support.admin_site import Login
from tests.support.booked_jobs import booked_job, give_slots
from tests.support.factories import JobFactory, TagFactory

pytestmark = pytest.mark.django_db

LIST = "/admin/jobs/job/"


def listed(client: Client, address: str = "", **query: Any) -> list[int]:
    """Return the job ids of a page of the list, in their order."""
    response = client.get(LIST + address, query or None)
    assert response.status_code == 200, response
    return [job.job_id for job in response.context["cl"].result_list]


@pytest.fixture
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Test two jobs per step, and one step per page."""
    monkeypatch.setattr(find, "FIRST_STEP", 2)
    monkeypatch.setattr(find, "_MOST_STEPS", 1)


@pytest.mark.usefixtures("_small_steps")
def test_a_search_in_steps_says_how_far_it_got_and_goes_on_to_the_end(admin: User, login: Login) -> None:
    for number in range(1, 8):
        JobFactory.create(job_id=number, num_hwthreads=8 if number in (1, 6) else 4)
    client = login(admin)

    first = client.get(LIST, {"q": "cores:8"})
    pages = [first]
    while pages[-1].context["cl"].further:
        pages.append(client.get(LIST + pages[-1].context["cl"].further))

    said = first.content.decode()
    assert "1 job found" in said
    assert "so far, among the jobs started since" in said
    assert "data-goes-on" in said
    found = [[job.job_id for job in page.context["cl"].result_list] for page in pages]
    assert found == [[6], [6], [6, 1]]
    assert "so far" not in pages[-1].content.decode()


def test_a_page_that_goes_on_takes_fewer_queries_where_nothing_was_found(
    bob: User, login: Login, django_assert_num_queries: Any
) -> None:
    job = JobFactory.create(project="bio", num_hwthreads=8)
    tested = f"{job.start_time}-{int(time.time())}"
    client = login(bob)
    client.get(LIST)
    with django_assert_num_queries(18):
        assert listed(client, q="cores:8", tested=tested, found=str(job.pk)) == [job.job_id]
    with django_assert_num_queries(15):  # none for jobs by their ids: those found before, the rows, and their tags
        assert listed(client, q="cores:16", tested=tested, found="") == []


@pytest.mark.usefixtures("_small_steps")
def test_none_are_said_only_where_there_are_none(admin: User, login: Login) -> None:
    JobFactory.create_batch(7)
    client = login(admin)

    page = client.get(LIST, {"q": "cores:8"})
    assert "None found so far" in page.content.decode()
    assert "No matching jobs" not in page.content.decode()
    while page.context["cl"].further:
        page = client.get(LIST + page.context["cl"].further)
    assert "No matching jobs" in page.content.decode()


@pytest.mark.usefixtures("_small_steps")
def test_a_search_that_found_too_many_to_carry_goes_on_with_those_before(
    admin: User, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changelist, "_MOST_CARRIED", 1)
    for number in range(1, 8):
        JobFactory.create(job_id=number, start_time=1_700_000_000 + number)
    client = login(admin)

    first = client.get(LIST, {"q": "cores:0"})

    assert [job.job_id for job in first.context["cl"].result_list] == [7, 6, 5]
    assert listed(client, first.context["cl"].further) == [4, 3, 2]
    assert "started to 2023-11-14" in client.get(LIST + first.context["cl"].further).content.decode()


@pytest.mark.usefixtures("_small_steps")
def test_an_address_with_what_was_found_holds_for_an_hour_and_shows_nothing_hidden(
    alice: User, admin: User, login: Login
) -> None:
    hidden = JobFactory.create(job_id=1, user="charlie")
    own = JobFactory.create(job_id=2, user="alice")
    now = int(time.time())

    carried: dict[str, Any] = {"q": "cores:0", "tested": f"0-{now}", "found": f"{hidden.pk},{own.pk}"}
    assert listed(login(alice), **carried) == [2]
    assert listed(login(admin), **carried) == [2, 1]
    assert listed(login(admin), **(carried | {"found": ""})) == []
    for stale in (f"0-{now - 4000}", f"0-{now + 4000}", "x", "1-2-3", "-"):
        assert listed(login(admin), **(carried | {"tested": stale, "found": ""})) == [2, 1]


@pytest.mark.parametrize(("text", "opens"), [("7", 7), ("#7", 7), ("7.batch", 7), ("900_1", 8), ("job:7", None)])
def test_a_single_job_found_by_its_id_opens(text: str, opens: int | None, admin: User, login: Login) -> None:
    JobFactory.create(job_id=7)
    JobFactory.create(job_id=8, array_job_id=900)
    client = login(admin)

    response = client.get(LIST, {"q": text})

    if opens is None:
        assert response.status_code == 200
    else:
        assert response["Location"] == f"{LIST}{Job.objects.get(job_id=opens).pk}/change/"
    assert client.get(LIST, {"q": text, "state": "running"}).status_code == 200
    JobFactory.create(job_id=opens or 7, array_job_id=900)
    assert len(listed(client, q=text)) == 2


@pytest.mark.parametrize("text", ["7", "900_1"])
def test_the_id_of_a_hidden_job_is_as_one_that_does_not_exist(text: str, alice: User, bob: User, login: Login) -> None:
    JobFactory.create(job_id=7, array_job_id=900, user="charlie", project="cfd")

    for client in (login(alice), login(bob)):
        assert listed(client, q=text) == []
        page = re.sub(r"token.*?>|\d{4}-\d\d-\d\d \S+", "", client.get(LIST, {"q": text}).content.decode())
        other = re.sub(r"token.*?>|\d{4}-\d\d-\d\d \S+", "", client.get(LIST, {"q": "1" * len(text)}).content.decode())
        assert page.count("No matching jobs") == other.count("No matching jobs") == 1


def test_conditions_stand_above_the_list_and_in_title_and_trail_and_can_be_taken_away(
    admin: User, login: Login
) -> None:
    tag = TagFactory.create(type="perf", name="<bad>")
    JobFactory.create(tags=[tag])
    client = login(admin)
    query: dict[str, Any] = {
        "q": "alice -state:failed",
        "tag": tag.pk,
        "nodes_from": 1,
        "started": "last-month",
        "p": 1,
    }

    response = client.get(LIST, query)
    page, chips = response.content.decode(), response.context["cl"].chips

    labels = [chip.label for chip in chips]
    assert labels == ["start last month", "nodes at least 1", "tag perf:<bad>", "user alice", "not state failed"]
    text = ", ".join(labels).replace("<", "&lt;").replace(">", "&gt;")
    assert f"<title>{text} | Jobs" in re.sub(r"\s*\n\s*", "", page)
    assert f"Jobs</a> &rsaquo; {text}" in page
    assert chips[3].address == f"?nodes_from=1&q=-state%3Afailed&started=last-month&tag={tag.pk}"
    assert chips[0].address == f"?nodes_from=1&q=alice+-state%3Afailed&tag={tag.pk}"
    for chip in chips:
        assert len(client.get(LIST + chip.address).context["cl"].chips) == 4


SORTED = {
    "job": [1, 2, 3],
    "-job": [3, 2, 1],
    "owner": [2, 3, 1],
    "-nodes": [3, 1, 2],
    "elapsed": [1, 3, 2],
    "-end": [2, 3, 1],
    "started": [1, 2, 3],
    "-waiting": [1, 2, 3],
    "-energy": [1, 3, 2],
    "metric:flops_any": [3, 1, 2],
    "-metric:flops_any": [1, 3, 2],
    "": [3, 2, 1],
    "archive": [3, 2, 1],
    "nonsense": [3, 2, 1],
}


@pytest.mark.parametrize("sort", SORTED)
def test_columns_sort(sort: str, admin: User, login: Login) -> None:
    give_slots("flops_any")
    columns = "job,owner,nodes,started,end,elapsed,waiting,energy,metric:flops_any"
    ListColumns.objects.create(owner=admin, names=columns)
    start = 1_700_000_000
    of_first = {"avg_share_1": 500, "energy": 7.0}
    booked_job(of_first, job_id=1, user="zoe", num_nodes=2, start_time=start, duration=5, submit_time=start - 9)
    JobFactory.create(job_id=2, user="alice", num_nodes=1, start_time=start + 10, submit_time=start + 8)
    booked_job(
        {"avg_share_1": 20, "energy": 6.0}, job_id=3, user="Bob", num_nodes=9, start_time=start + 20, duration=60
    )

    assert listed(login(admin), sort=sort) == SORTED[sort]


def test_what_is_too_much_to_sort_says_so_and_stays_newest_first(
    admin: User, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        JobFactory.create(job_id=number, num_nodes=number)
    client = login(admin)
    assert "?sort=-nodes" in client.get(LIST).content.decode()
    monkeypatch.setattr(JobPages, "limit", 2)

    page = client.get(LIST, {"sort": "nodes"})

    assert [job.job_id for job in page.context["cl"].result_list] == [3, 2]
    assert "Too many jobs to sort" in page.content.decode()
    assert "?sort=-nodes" not in page.content.decode()


def test_order_and_page_keep_what_was_found(admin: User, login: Login) -> None:
    job = JobFactory.create(job_id=1)
    now = int(time.time())

    query: dict[str, Any] = {"q": "name:job", "tested": f"0-{now}", "found": job.pk}
    page = login(admin).get(LIST, query).content.decode()

    assert f"?found={job.pk}&amp;q=name%3Ajob&amp;sort=-nodes&amp;tested=0-{now}" in page


def test_everybody_chooses_columns_that_stay(admin: User, carol: User, login: Login) -> None:
    give_slots("flops_any")
    booked_job(
        {"avg_share_1": 125, "avg_1": 2.5, "energy": 1234.5}, resources='[{"hostname":"n07"},{"hostname":"n08"}]'
    )
    client = login(admin)

    answer = client.post(
        f"{LIST}columns/", {"query": "?q=alice", "column": ["hosts", "energy", "metric:flops_any", "nonsense"]}
    )
    page = client.get(LIST).content.decode()

    assert answer["Location"] == f"{LIST}?q=alice"
    assert ListColumns.objects.get(owner=admin).names == "hosts,energy,metric:flops_any"
    for shown in ("n07, n08", "1,234.5 kWh", 'value="125"', "column-job"):
        assert shown in page
    assert "column-state" not in page
    assert "column-state" in login(carol).get(LIST).content.decode()
    client.post(f"{LIST}columns/", {"query": "", "usual": "1", "column": ["hosts"]})
    assert "column-state" in client.get(LIST).content.decode()


def test_columns_are_chosen_by_those_who_see_jobs(bench: User, login: Login) -> None:
    assert login(bench).post(f"{LIST}columns/", {"column": ["hosts"]}).status_code == 302
    assert not ListColumns.objects.exists()


def test_the_columns_cost_no_query_per_row(admin: User, login: Login, django_assert_max_num_queries: Any) -> None:
    give_slots("flops_any", "mem_bw")
    known = all_columns()
    ListColumns.objects.create(owner=admin, names=",".join(known))
    for _ in range(5):
        booked_job({"avg_share_1": 5})
    client = login(admin)
    client.get(LIST)

    with django_assert_max_num_queries(14):
        client.get(LIST, {"sort": "-metric:flops_any"})


FIELDS_OF_HIDDEN = [
    "q=user:charlie",
    "q=project:hidden-project",
    "q=host:hidden01",
    "q=host:hid*",
    "q=hidden01",
    "q=secret",
    "q=name:secret",
    "q=cluster:hidden",
    "q=partition:hidden",
    "q=subcluster:hidden",
    "q=tag:perf",
    "q=nodes:77",
    "q=cores:77",
    "q=gpus:77",
    "q=flops_any:<5%25",
    "q=mem_used.max:>200",
    "q=flops_any.idle:>1%25",
    "q=energy:>1",
    "q=limit:>95%25",
    "q=waiting:>1h",
    "q=walltime:1h",
    "q=duration:1h",
    "q=array:900",
    "q=900_2",
    "q=7",
    "q=-user:alice",
    "q=state:failed",
    "q=start:2023-11",
    "q=end:2023-11",
    "q=archiving:archived",
    "sort=-energy",
    "sort=owner",
]


@pytest.mark.parametrize("person", ["alice", "bob"])
def test_no_way_of_searching_finds_counts_or_names_the_jobs_of_others(
    person: str, login: Login, request: pytest.FixtureRequest
) -> None:
    give_slots("flops_any", "mem_used")
    booked_job(
        {"avg_share_1": 10, "max_2": 300.0, "idle_1": 900, "energy": 9.0},
        **{"job_id": 7, "array_job_id": 900, "user": "charlie", "project": "hidden-project", "cluster": "hidden"},
        **{"sub_cluster": "hidden", "partition": "hidden", "num_nodes": 77, "num_hwthreads": 77, "num_acc": 77},
        **{"resources": '[{"hostname":"hidden01"}]', "meta_data": '{"jobName":"secret"}', "walltime": 3600},
        **{"submit_time": 1_600_000_000, "tags": [TagFactory.create(type="perf", name="slow")]},
    )
    Job.objects.update(duration=3600, job_state="failed")
    client = login(request.getfixturevalue(person))

    for query in FIELDS_OF_HIDDEN:
        response = client.get(f"{LIST}?{query}")
        page = response.content.decode()
        assert response.status_code == 200, query
        assert response.context["cl"].result_count == 0, query
        assert response.context["cl"].further is None, query
        hidden = {"charlie", "secret", "hidden01", "hidden-project"}
        assert not any(word in page for word in hidden if word not in query), query
    assert "secret" not in client.get(f"{LIST}export/csv/?q=secret").getvalue().decode()
