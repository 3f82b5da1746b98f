"""Comparing two to eight jobs: what differs is marked, nobody compares a job that he may not see."""

import json
import time
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from jobs.admin import comparison
from jobs.models import Job
from tests.support.admin_site import Login
from tests.support.factories import JobFactory

pytestmark = pytest.mark.django_db
PAGE = "/admin/jobs/job/compare/"


def of(jobs: list[Job]) -> dict[str, str]:
    """Return the address's parameter for some jobs."""
    return {"jobs": ",".join(str(job.pk) for job in jobs)}


def differing(lines: list[comparison.Line]) -> set[str]:
    """Return the labels of what differs."""
    return {line.label for line in lines if line.differs}


def statistics(**averages: float) -> str:
    """Return statistics as a job has them."""
    return json.dumps(
        {name: {"unit": {"base": ""}, "avg": value, "min": 0, "max": value} for name, value in averages.items()}
    )


def test_what_differs_is_marked_and_what_differs_with_every_run_is_not() -> None:
    jobs = [JobFactory.create(archived=True), JobFactory.create(archived=True, partition="long", walltime=7200)]
    assert differing(comparison.facts(jobs)) == {"Partition", "Requested"}


def test_a_metric_differs_by_more_than_a_tenth() -> None:
    jobs = [
        JobFactory.create(archived=True, statistics=statistics(load=10, flops=100, only=1)),
        JobFactory.create(archived=True, statistics=statistics(load=10.9, flops=150)),
    ]
    lines = comparison.statistics(jobs)
    assert differing(lines) == {"flops"}
    assert [value and value.avg for line in lines if line.label == "only" for value in line.values] == ["1", None]


def test_texts_are_shown_as_differences_from_the_first_job() -> None:
    scripts = ["#!/bin/bash\nmodule load a\nsrun x\n", "#!/bin/bash\nmodule load b\nsrun x\n"]
    jobs = [JobFactory.create(meta_data=json.dumps({"jobScript": script, "jobName": "x"})) for script in scripts]

    (difference,) = comparison.differences(jobs)

    assert (difference.label, difference.job) == ("Job script", jobs[1])
    assert difference.lines == [
        ("same", " #!/bin/bash"),
        ("removed", "-module load a"),
        ("added", "+module load b"),
        ("same", " srun x"),
    ]


def compared(*texts: str) -> comparison.Difference:
    """Return the difference of two job scripts."""
    jobs = [JobFactory.create(meta_data=json.dumps({"jobScript": text})) for text in texts]
    (difference,) = comparison.differences(jobs)
    return difference


def test_a_difference_far_behind_is_found_and_what_is_the_same_before_it_is_left_out() -> None:
    same = "the same line\n" * 20_000  # more than a job's page shows
    found = compared(f"{same}a\n", f"{same}b\n")
    kept = ("same", " the same line")
    assert found.lines == [("gap", "…"), kept, kept, ("removed", "-a"), ("added", "+b")]
    assert not found.cut
    assert compared(same, f"{same}b").lines == [("gap", "…"), kept, kept, ("added", "+b")]


def test_texts_that_differ_in_the_ends_of_their_lines_say_so() -> None:
    assert compared("a\nb\n", "a\r\nb").lines == [("gap", "Only the ends of lines differ.")]


def test_texts_of_many_lines_alike_are_compared_in_bounded_time() -> None:
    texts = ["\n".join(str((place * step) % 991) for place in range(100_000)) for step in (7, 13)]
    begun = time.process_time()
    found = compared(*texts)
    assert time.process_time() - begun < 2
    assert (len(found.lines), found.cut) == (500, True)
    assert len(compared("x" * 900_000, "y").lines[0][1]) < 3000


def test_averages_are_compared_whatever_their_units_and_signs() -> None:
    def job(prefix: str, value: float, cold: float) -> Job:
        rows = {"bw": ({"prefix": prefix, "base": "B/s"}, value), "temperature": ({"base": "degC"}, cold)}
        table = {name: {"unit": unit, "avg": avg, "min": avg, "max": avg} for name, (unit, avg) in rows.items()}
        return JobFactory.create(archived=True, statistics=json.dumps(table))

    assert differing(comparison.statistics([job("M", 2000, -10), job("G", 2, -10)])) == set()
    assert differing(comparison.statistics([job("M", 2, -10), job("G", 2, -12)])) == {"bw", "temperature"}


def test_the_action_of_the_list_leads_to_the_page(admin: User, login: Login) -> None:
    jobs = [JobFactory.create(), JobFactory.create()]
    client = login(admin)

    answer = client.post(
        "/admin/jobs/job/", {"action": "compare", "_selected_action": [job.pk for job in jobs]}, follow=True
    )

    assert answer.context["jobs"] == jobs
    assert answer.context["title"] == "2 jobs compared"


@pytest.mark.parametrize("count", [1, 9])
def test_one_job_and_nine_jobs_are_not_compared(admin: User, login: Login, count: int) -> None:
    jobs = [JobFactory.create() for _ in range(count)]
    client = login(admin)
    selected = {"action": "compare", "_selected_action": [job.pk for job in jobs]}

    for answer in (client.post("/admin/jobs/job/", selected, follow=True), client.get(PAGE, of(jobs), follow=True)):
        assert answer.redirect_chain
        assert "2 to 8 jobs" in answer.content.decode()


@pytest.mark.parametrize("text", ["", "x", "1,x", "99999999999999999999,1", "0,0"])
def test_an_address_without_jobs_is_explained(admin: User, login: Login, text: str) -> None:
    answer = login(admin).get(PAGE, {"jobs": text}, follow=True)
    assert "Comparing needs 2 to 8 jobs that you may see" in answer.content.decode()


def test_a_job_that_is_named_again_and_again_leaves_room_for_others(admin: User, login: Login) -> None:
    first, second = JobFactory.create_batch(2)
    text = f"{f'{first.pk},' * 20}x,{second.pk},999999"
    answer = login(admin).get("/admin/jobs/job/compare/", {"jobs": text})
    assert "2 jobs compared" in answer.content.decode()


def test_a_user_compares_own_jobs_alone(alice: User, login: Login) -> None:
    own = [JobFactory.create(user="alice"), JobFactory.create(user="alice")]
    secret = JobFactory.create(user="bob", project="concealed", meta_data='{"jobName": "concealed"}')
    client: Client = login(alice)

    seen: Any = client.get(PAGE, of([*own, secret]))

    assert seen.context["jobs"] == own
    assert "concealed" not in seen.content.decode()
    assert client.get(PAGE, of([own[0], secret])).status_code == 302
