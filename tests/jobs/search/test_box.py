"""The words of the search box."""

import json
from typing import Any

import pytest

from accounts.models import User
from jobs.models import Job
from jobs.search.box import narrow
from jobs.search.criteria import Criteria, find
from tests.support.factories import JobFactory, TagFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def jobs() -> list[Job]:
    """Return three jobs that differ in all that is searched for."""
    tag = TagFactory.create(type="perf", name="bad:worse")
    return [
        JobFactory.create(job_id=1, user="alice", project="bio", tags=[tag], meta_data='{"jobName":"my first job"}'),
        JobFactory.create(job_id=2, user="bob", project="bio", partition="gpu", resources='[{"hostname":"g01"}]'),
        JobFactory.create(job_id=3, user="bio", project="cfd", cluster="other", finished=True),
    ]


def narrowed(text: str, user: Any) -> Criteria:
    """Return what a search means."""
    criteria = Criteria()
    narrow(criteria, text, user)
    return criteria


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {1, 2, 3}),
        ("2", {2}),
        ("job:2", {2}),
        ("user:alice", {1}),
        ("project:bio", {1, 2}),
        ("alice", {1}),
        ("bio", {3}),  # a user before a project
        ("cfd", {3}),
        ("host:g01", {2}),
        ("name:first", {1}),
        ('name:"my first"', {1}),
        ("name:FIRST", {1}),
        ("tag:perf:bad:worse", {1}),
        ("cluster:other", {3}),
        ("partition:gpu", {2}),
        ("state:completed", {3}),
        ('state:"COMPLETED by 5"', {3}),
        ("STATE:Running project:bio", {1, 2}),
        ("project:bio user:bob", {2}),
        ("project:bio user:bob 1", set()),
        ("tag:perf:none", set()),
        ("user:ali", set()),
        ("user:\0alice", {1}),
    ],
)
def test_words_find_jobs(text: str, found: set[int], jobs: list[Job], admin: User) -> None:
    criteria = narrowed(text, admin)

    assert criteria.problems == []
    assert {job.job_id for job in find(user=admin, criteria=criteria).jobs} == found


def test_a_word_of_the_scheduler_finds_the_jobs_that_ended_with_it(admin: User) -> None:
    kept = [None, "node_fail", "NODE_FAIL by root", "NODE_FA+", "boot_fail", "node_failure", "a node_fail"]
    for number, word in enumerate(kept, start=1):
        metadata = json.dumps({"jobName": "node_fail", "schedulerState": word}) if word else None
        JobFactory.create(job_id=number, finished=True, job_state="failed", meta_data=metadata)
    JobFactory.create(job_id=9, meta_data='{"schedulerState":"node_fail"}')
    for text, found in (("state:NODE_FAIL", {2, 3, 4}), ("state:Boot+", {5}), ("state:failed", set(range(1, 8)))):
        assert {job.job_id for job in find(user=admin, criteria=narrowed(text, admin)).jobs} == found


def test_what_a_start_takes_is_found(admin: User) -> None:
    jobs = [
        JobFactory.create(resources='[{"hostname":"n\u00f6de1"}]', tags=[TagFactory.create(type="a:b", name="c")]),
        JobFactory.create(tags=[TagFactory.create(type="a", name="b:c")]),
    ]
    jobs.append(JobFactory.create(user='a "b"', meta_data=r'{"jobName":"x\"y z"}'))
    for text in ('user:"a ""b"""', 'name:"x""y"', 'name:"""y z"', '"a ""b"""'):
        assert list(find(user=admin, criteria=narrowed(text, admin)).jobs) == jobs[2:], text
    for text, found in (("host:n\u00f6de1", jobs[:1]), ("tag:a:b:c", jobs[:2]), ("tag:a:b", [])):
        assert set(find(user=admin, criteria=narrowed(text, admin)).jobs) == set(found)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("hots:g01", "'hots:g01': expected one of job:, user:, project:, host:"),
        ('user:""', "expected a text after the colon"),
        ("tag:perf", "tag:'perf': expected type and name, as tag:perf:bad"),
        ("state:odd", "state:'odd': expected one of running, completed"),
        ("nobody", "'nobody': there is no job with this user or project"),
        ("99999999999999999999", "expected a job id"),
        ("job:x", "'x': expected a job id"),
        ('name:"open', "'name:\"open': expected words, and texts with spaces as"),
        ("user:", "'user:'"),
    ],
)
def test_what_means_nothing_is_said_and_finds_nothing(text: str, problem: str, jobs: list[Job], admin: User) -> None:
    criteria = narrowed(f"project:bio {text}", admin)

    assert problem in criteria.problems[0]
    assert not find(user=admin, criteria=criteria).jobs.exists()


def test_a_search_tells_nobody_which_names_exist(jobs: list[Job], alice: User, bob: User) -> None:
    for person in (alice, bob):
        for known, unknown in (("charlie", "nobody"), ("cfd", "no-project"), ("tag:perf:bad:worse", "tag:a:b")):
            assert narrowed(known, person).problems == narrowed(unknown, person).problems == []


def test_a_manager_s_bare_word_may_be_a_managed_project(jobs: list[Job], bob: User) -> None:
    assert {job.job_id for job in find(user=bob, criteria=narrowed("bio", bob)).jobs} == {1, 2}
