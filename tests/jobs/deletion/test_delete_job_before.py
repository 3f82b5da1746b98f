"""DELETE delete_job_before: all jobs that started before a time, in batches."""

from typing import Any

import pytest

from jobs.deletion import services
from jobs.deletion.services import _delete_rows
from jobs.models import Job, JobTag, Tag
from tests.support.clients import AppClient
from tests.support.factories import START, JobFactory, TagFactory

PATH = "/api/jobs/delete_job_before/"


@pytest.mark.parametrize("slash", ["", "/"])
def test_jobs_strictly_before_the_time_are_deleted(api: AppClient, slash: str) -> None:
    jobs = [JobFactory.create(start_time=START + second) for second in range(4)]
    answer = api.delete(f"{PATH}{START + 2}{slash}")
    assert (answer.status, answer.json) == (200, {"msg": "Successfully deleted 2 jobs"})
    assert set(Job.objects.all()) == set(jobs[2:])


def test_nothing_to_delete_is_no_error(api: AppClient) -> None:
    JobFactory.create(start_time=START)
    assert api.delete(f"{PATH}{START}").json == {"msg": "Successfully deleted 0 jobs"}


@pytest.mark.parametrize("before", [0, -1, -62_135_596_801, -(2**63)])
def test_a_time_before_any_calendar_deletes_nothing(api: AppClient, before: int) -> None:
    JobFactory.create(start_time=START)
    assert api.delete(f"{PATH}{before}").json == {"msg": "Successfully deleted 0 jobs"}


@pytest.mark.parametrize(
    ("flag", "kept"),
    [
        ("true", {"by hand", "by both", "by a tagger"}),
        ("all", {"by hand", "by both", "by a tagger"}),
        ("user", {"by hand", "by both"}),
        ("none", set()),
        ("false", set()),
        (None, set()),
    ],
)
def test_tagged_jobs_are_omitted_when_asked(api: AppClient, flag: str | None, kept: set[str]) -> None:
    """cc-backend's taggers set tags of the types app and jobClass."""
    by_hand, app, kind = TagFactory.create(), TagFactory.create(type="app"), TagFactory.create(type="jobClass")
    tagged = {"by nobody": [], "by hand": [by_hand], "by a tagger": [app, kind], "by both": [app, by_hand]}
    for name, tags in tagged.items():
        JobFactory.create(start_time=START, user=name, tags=tags)
    answer = api.delete(f"{PATH}{START + 1}" + (f"?omit-tagged={flag}" if flag else ""))
    assert answer.status == 200
    assert {job.user for job in Job.objects.all()} == kept


@pytest.mark.parametrize("text", ["abc", "1.5", "2023-11-14", "9" * 25])
def test_a_time_that_is_no_number_is_refused(api: AppClient, text: str) -> None:
    JobFactory.create()
    answer = api.delete(f"{PATH}{text}")
    assert answer.status == 400
    assert text in answer.error
    assert Job.objects.count() == 1


@pytest.mark.parametrize("query", ["omit-tagged=yes", "omit-tagged=", "omit-tagged=1", "cluster=x"])
def test_a_parameter_that_is_unknown_or_does_not_parse_is_refused_by_name(api: AppClient, query: str) -> None:
    JobFactory.create(start_time=START)
    answer = api.delete(f"{PATH}{START + 1}?{query}")
    assert answer.status == 400
    assert query.partition("=")[0] in answer.error
    assert Job.objects.count() == 1


def test_exactly_a_batch_of_jobs_is_deleted(api: AppClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_DELETE_BATCH", 2)
    for number in range(4):
        JobFactory.create(start_time=START + number)
    assert api.delete(f"{PATH}{START + 4}").json == {"msg": "Successfully deleted 4 jobs"}


def test_running_waiting_and_archived_jobs_are_deleted_and_tags_stay(api: AppClient) -> None:
    tag = TagFactory.create()
    for state in ({}, {"finished": True}, {"archived": True}):
        JobFactory.create(tags=[tag], **state)
    assert api.delete(f"{PATH}{START + 10**6}").json == {"msg": "Successfully deleted 3 jobs"}
    assert not JobTag.objects.exists()
    assert Tag.objects.get() == tag


def test_more_jobs_than_a_batch_are_all_deleted(api: AppClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_DELETE_BATCH", 3)
    for number in range(9):
        JobFactory.create(start_time=START + number, tags=[TagFactory.create()] if number % 2 else [])
    assert api.delete(f"{PATH}{START + 9}?omit-tagged=true").json == {"msg": "Successfully deleted 5 jobs"}
    assert api.delete(f"{PATH}{START + 8}").json == {"msg": "Successfully deleted 4 jobs"}


@pytest.mark.django_db(transaction=True)
def test_what_was_deleted_stays_so_when_interrupted_and_the_next_call_goes_on(
    api: AppClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "_DELETE_BATCH", 2)
    for number in range(6):
        JobFactory.create(start_time=START + number)
    delete_rows, calls = _delete_rows, []

    def interrupted(row_ids: Any) -> int:
        calls.append(row_ids)
        if len(calls) == 3:
            raise RuntimeError("interrupted")
        return delete_rows(row_ids)

    with monkeypatch.context() as patch:
        patch.setattr(services, "_delete_rows", interrupted)
        assert api.delete(f"{PATH}{START + 6}").status == 500
    assert list(Job.objects.order_by("start_time").values_list("start_time", flat=True)) == [START + 4, START + 5]
    assert api.delete(f"{PATH}{START + 6}").json == {"msg": "Successfully deleted 2 jobs"}
