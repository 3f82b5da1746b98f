"""The words of the search box."""

import json
import time
from datetime import datetime
from typing import Any

import pytest

from accounts.models import User
from jobs.models import Job
from jobs.querysets import seen_by
from jobs.search.box import Parsed, narrow, without
from jobs.search.criteria import Criteria
from jobs.search.find import Search
from jobs.search.values import period
from tests.support.booked_jobs import book, booked_job, give_slots
from tests.support.factories import JobFactory, TagFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def jobs() -> list[Job]:
    """Return jobs that differ in all that is searched for."""
    give_slots("flops_any", "mem_used")
    bad, good = TagFactory.create(type="perf", name="bad:worse"), TagFactory.create(type="perf", name="good")
    return [
        JobFactory.create(job_id=1, user="alice", project="bio", tags=[bad], meta_data='{"jobName":"my first job"}'),
        JobFactory.create(
            job_id=2,
            user="bob",
            project="bio",
            partition="gpu",
            resources='[{"hostname":"g01"}]',
            num_nodes=64,
            num_acc=4,
        ),
        booked_job(
            {"avg_share_1": 30, "avg_1": 3.0, "max_2": 210.0, "max_share_2": 820, "idle_1": 600, "energy": 12.5},
            **{
                "job_id": 3,
                "user": "bio",
                "project": "cfd",
                "cluster": "other",
                "sub_cluster": "big",
                "meta_data": None,
            },
            resources='[{"hostname":"g01"},{"hostname":"f0123"}]',
        ),
        book(
            JobFactory.create(
                **{"job_id": 4, "user": "Carl", "project": "cfd", "job_state": "timeout", "duration": 3600},
                **{"monitoring_status": 3, "tags": [good], "walltime": 3600, "resources": '[{"hostname":"f0124"}]'},
                submit_time=1_700_000_000 - 7200,
                start_time=1_700_000_000,
            ),
            avg_share_1=500,
        ),
        JobFactory.create(job_id=5, user="dora", project="", finished=True, array_job_id=1234600, num_hwthreads=128),
    ]


def narrowed(text: str, user: Any) -> Criteria:
    """Return what a search means."""
    criteria = Criteria()
    narrow(criteria, text, seen_by(user))
    return criteria


def found(text: str, user: Any) -> set[int]:
    """Return the job ids that a search finds."""
    criteria = narrowed(text, user)
    assert criteria.problems == []
    ids = Search(seen=seen_by(user), criteria=criteria).newest(100).ids
    return set(Job.objects.filter(pk__in=ids).values_list("job_id", flat=True))


@pytest.mark.parametrize(
    ("text", "matching"),
    [
        ("", {1, 2, 3, 4, 5}),
        # ids
        ("2", {2}),
        ("#2", {2}),
        ("2.batch", {2}),
        ("job:2", {2}),
        ("1 2", {1, 2}),
        ("job:1,2", {1, 2}),
        ("1 2 user:bob", {2}),
        ("1234600_3", {5}),
        ("array:1234600", {5}),
        ("-2", {1, 3, 4, 5}),
        # bare words
        ("alice", {1}),
        ("ALICE", {1}),
        ("ali*", {1}),
        ("alice,bob", {1, 2}),
        ("bio", {3}),  # a user before a project
        ("cfd", {3, 4}),
        ("f0123", {3}),
        ("f01*", {3, 4}),
        ("first", {1}),
        ("nobody", set()),
        ("-alice", {2, 3, 4, 5}),
        # names
        ("user:alice", {1}),
        ("user:ali", set()),
        ("user:carl", {4}),
        ("user:\0alice", {1}),
        ("user:alice,nobody,b*", {1, 2, 3}),
        ("-user:alice,bob", {3, 4, 5}),
        ("project:bio", {1, 2}),
        ("project:bio user:bob", {2}),
        ("project:bio user:bob 1", set()),
        ("project:B*", {1, 2}),
        ("cluster:other", {3}),
        ("subcluster:big", {3}),
        ("partition:gpu", {2}),
        ("name:FIRST", {1}),
        ('name:"my first"', {1}),
        ("name:my*", {1}),
        ("name:first*", set()),
        ("-name:first", {2, 3, 4, 5}),
        # hosts: of jobs that run, that have ended, and of both
        ("host:g01", {2, 3}),
        ("host:g0", set()),
        ("host:f0123", {3}),
        ("host:F0123", {3}),
        ("host:f01*", {3, 4}),
        ("host:f0123,g01 state:completed", {3}),
        ("-host:g01", {1, 4, 5}),
        # states
        ("state:completed", {3, 5}),
        ("state:COMPLETED,Timeout", {3, 4, 5}),
        ("state:time*", {4}),
        ('state:"COMPLETED by 5"', {3, 5}),
        ("STATE:Running project:bio", {1, 2}),
        ("-state:running", {3, 4, 5}),
        ("archiving:archived", {3, 4}),
        ("archiving:waiting", {5}),
        # tags
        ("tag:perf:bad:worse", {1}),
        ("tag:perf", {1, 4}),
        ("tag:perf:g*", {4}),
        ("tag:perf:none", set()),
        ("-tag:perf", {2, 3, 5}),
        # numbers
        ("nodes:64", {2}),
        ("nodes:>8", {2}),
        ("nodes>8", {2}),
        ("nodes:<=1", {1, 3, 4, 5}),
        ("nodes:2..64", {2}),
        ("nodes:2..<2", set()),
        ("nodes:1..<2 nodes:..<2", {1, 3, 4, 5}),
        ("nodes:1,64", {1, 2, 3, 4, 5}),
        ("cores:128", {5}),
        ("gpus:>0", {2}),
        ("duration:10m", {3, 5}),
        ("duration:>=1h -state:running", {4}),
        ("duration:1:00:00", {4}),
        ("walltime:>=1h", {1, 2, 3, 4, 5}),
        ("limit:>95% -state:running", {4}),
        ("limit:<20%", {3, 5}),
        ("waiting:>1h", {4}),
        # footprints
        ("flops_any:<5%", {3}),
        ("flops_any:>5%", {4}),
        ("flops_any:<100", {3}),
        ("FLOPS_ANY.idle:>50%", {3}),
        ("mem_used.max:>200GB", {3}),
        ("mem_used.max:>0.3TB", set()),
        ("mem_used.max:80%..90%", {3}),
        ("energy:>10", {3}),
        ("energy:>1MWh", set()),
        ("flops_any:<60% mem_used.max:>80%", {3}),
        # times
        ("start:2023-11-14", {1, 2, 3, 4, 5}),
        ("start:2023-11", {1, 2, 3, 4, 5}),
        ("start:<2023-11-14", set()),
        ("start:>=2023-11-14T22:13 start:<2023-12-01", {1, 2, 3, 4, 5}),
        ("start:today", set()),
        ("-start:7d", {1, 2, 3, 4, 5}),
        ("end:2023-11-14", {3, 4, 5}),
    ],
)
def test_words_find_jobs(
    text: str, matching: set[int], jobs: list[Job], admin: User, add_cluster: Any, settings: Any
) -> None:
    add_cluster("alex")  # whose mem_used is in GB
    settings.TIME_ZONE = "UTC"
    assert found(text, admin) == matching


def test_a_time_until_now_ends_now_and_a_day_or_month_with_itself(admin: User, settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    now = int(time.time())
    for job_id, start in enumerate((now - 5, now + 120, now + 2 * 86_400, now + 70 * 86_400), start=1):
        JobFactory.create(job_id=job_id, start_time=start, finished=True, duration=1)
    for text in ("start:7d", "start:1h", "start:5w", "end:7d"):
        assert found(text, admin) == {1}
        assert found(f"-{text}", admin) == {2, 3, 4}
    for text in ("start:today", "end:today"):
        assert {3, 4}.isdisjoint(found(text, admin))
    for text in ("start:this-month", "end:this-month"):
        assert 4 not in found(text, admin)


@pytest.mark.parametrize(
    ("now", "word", "begin", "end"),
    [
        ("2026-10-24T12:00:30+02:00", "24h", "2026-10-23T12:00:30+02:00", "2026-10-24T12:00:59+02:00"),
        ("2026-10-25T12:00:00+01:00", "today", "2026-10-25T00:00:00+02:00", "2026-10-25T23:59:59+01:00"),
        ("2026-10-26T12:00:00+01:00", "yesterday", "2026-10-25T00:00:00+02:00", "2026-10-25T23:59:59+01:00"),
        ("2026-10-01T00:00:00+02:00", "this-month", "2026-10-01T00:00:00+02:00", "2026-10-31T23:59:59+01:00"),
        ("2027-01-31T23:00:00+01:00", "this-month", "2027-01-01T00:00:00+01:00", "2027-01-31T23:59:59+01:00"),
        ("2027-01-31T23:00:00+01:00", "last-month", "2026-12-01T00:00:00+01:00", "2026-12-31T23:59:59+01:00"),
        ("2026-12-31T23:00:00+01:00", "this-month", "2026-12-01T00:00:00+01:00", "2026-12-31T23:59:59+01:00"),
    ],
)
def test_the_ends_of_a_period_where_clocks_and_years_change(
    now: str, word: str, begin: str, end: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    moment = datetime.fromisoformat(now)
    monkeypatch.setattr("time.time", moment.timestamp)
    monkeypatch.setattr("django.utils.timezone.now", lambda: moment)
    assert period(word) == tuple(int(datetime.fromisoformat(each).timestamp()) for each in (begin, end))


def test_a_word_of_the_scheduler_finds_the_jobs_that_ended_with_it(admin: User) -> None:
    kept = [None, "node_fail", "NODE_FAIL by root", "NODE_FA+", "boot_fail", "node_failure", "a node_fail"]
    for number, word in enumerate(kept, start=1):
        metadata = json.dumps({"jobName": "node_fail", "schedulerState": word}) if word else None
        JobFactory.create(job_id=number, finished=True, job_state="failed", meta_data=metadata)
    JobFactory.create(job_id=9, meta_data='{"schedulerState":"node_fail"}')
    for text, matching in (("state:NODE_FAIL", {2, 3, 4}), ("state:Boot+", {5}), ("state:failed", set(range(1, 8)))):
        assert found(text, admin) == matching


def test_a_task_of_an_array_is_told_from_others_where_the_scheduler_said_which_it_is(admin: User) -> None:
    for number in (3, 30):
        info = json.dumps({"slurmInfo": f"ArrayJobId=70 ArrayTaskId={number} JobName=x"})
        JobFactory.create(job_id=100 + number, array_job_id=70, meta_data=info)
    JobFactory.create(job_id=70, array_job_id=70)

    assert found("70_3", admin) == {103, 70}
    assert found("70_30", admin) == {130, 70}
    assert found("array:70", admin) == {103, 130, 70}


def test_what_a_start_takes_is_found(admin: User) -> None:
    jobs = [
        JobFactory.create(resources='[{"hostname":"n\u00f6de1"}]', tags=[TagFactory.create(type="a:b", name="c")]),
        JobFactory.create(tags=[TagFactory.create(type="a", name="b:c")]),
    ]
    jobs.append(JobFactory.create(user='a "b",*', meta_data=r'{"jobName":"x\"y z"}'))
    last = {jobs[2].job_id}
    for text in ('user:"a ""b"",*"', 'name:"x""y"', 'name:"""y z"', '"a ""b"",*"'):
        assert found(text, admin) == last, text
    first, second = jobs[0].job_id, jobs[1].job_id
    for text, matching in (("host:n\u00f6de1", {first}), ("tag:a:b:c", {first, second}), ("tag:a:b", {first})):
        assert found(text, admin) == matching


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("hots:g01", "'hots' is no field: did you mean host:? The fields are job, user"),
        ("xyz:1", "'xyz' is no field: the fields are job, user"),
        ("mem_used.median:>1", "'mem_used.median' is no field"),
        ('user:""', "user:'': expected a name, a list as alice,bob, or a beginning as ali*"),
        ("user:", "user:'': expected a name"),
        ("user:a*b", "user:'a*b': expected a name"),
        ("user:" + ",".join(f"u{number}" for number in range(101)), ",u1': expected at most 100 values"),
        ("nodes:" + ",".join(map(str, range(101))), "expected at most 100 values"),
        ("tag:,", "tag:',': expected type and name as perf:bad, or a type"),
        ("state:odd", "state:'odd': expected one of running, completed"),
        ("state:failed,odd", "state:'failed,odd': expected one of running, completed"),
        ("archiving:odd", "archiving:'odd': expected one of waiting"),
        ("99999999999999999999", ""),
        ("job:x", "job:'x': expected job ids as 1234567"),
        ('name:"open', "'name:\"open': expected up to 40 words, and texts with blanks in quotes as"),
        ("nodes:many", "nodes:'many': expected a number, a list, a range as 8..32 or 8..<32, or a limit as >64"),
        ("nodes:..", "nodes:'..': expected a number"),
        ("nodes:1..<", "nodes:'1..<': expected a number"),
        ("duration:>1x", "duration:'>1x': expected a time as 90s"),
        ("limit:>half", "limit:'>half': expected a share as 50%"),
        ("flops_any:<few", "flops_any:'<few': expected a share of the peak as <5% or 10%..<20%, or"),
        ("flops_any.idle:<5", ""),
        ("start:soon", "start:'soon': expected today, yesterday"),
        ("start:2026-02-30", "start:'2026-02-30': expected today"),
        ("start:..", "start:'..': expected today"),
        ("*", "'*': expected a job id, a user, a project, a host"),
    ],
)
def test_what_means_nothing_is_said_and_finds_nothing(text: str, problem: str, jobs: list[Job], admin: User) -> None:
    criteria = narrowed(f"project:bio {text}", admin)

    assert problem in "".join(criteria.problems)
    assert bool(criteria.problems) == bool(problem)
    assert Search(seen=None, criteria=criteria).newest(10).ids == []


def test_each_word_says_how_it_was_understood_and_can_be_taken_away(jobs: list[Job]) -> None:
    text = '  alice  -state:running,failed name:"my job"  nodes:>8 f0123 2'
    parsed = narrow(Criteria(), text, None)

    labels = ["user alice", "not state running,failed", "name my job", "nodes >8", "host f0123", "job 2"]
    assert [term.label for term in parsed.terms] == labels
    assert without(text, parsed.terms[2]) == "alice  -state:running,failed nodes:>8 f0123 2"
    assert without("alice", narrow(Criteria(), "alice", None).terms[0]) == ""


def test_only_ids_name_a_job(jobs: list[Job]) -> None:
    def parsed(text: str) -> Parsed:
        return narrow(Criteria(), text, None)

    assert parsed("2").only_ids
    assert parsed("1 2").only_ids
    assert not any(parsed(text).only_ids for text in ("", "alice", "2 alice", "-2", "job:2 user:bob"))


@pytest.mark.parametrize("person", ["alice", "bob"])
@pytest.mark.parametrize(
    ("known", "unknown"),
    [
        ("Carl", "nobody"),
        ("cfd", "no-project"),
        ("f0123", "x0123"),
        ("tag:perf:good", "tag:a:b"),
        ("user:Ca*", "user:Xa*"),
        ("host:f01*", "host:x01*"),
        ("3", "99"),
        ("1234600_1", "99_1"),
        ("-user:Carl", "-user:nobody"),
        ("flops_any:<5%", "flops_any:<0%"),
        ("energy:>10", "energy:>99"),
        ("limit:>95%", "limit:>950%"),
        ("waiting:>1h", "waiting:>9h"),
        ("cluster:other", "cluster:elsewhere"),
        ("partition:w*", "partition:x*"),
    ],
)
def test_a_search_tells_nobody_of_the_jobs_of_others(
    person: str, known: str, unknown: str, jobs: list[Job], request: pytest.FixtureRequest
) -> None:
    """What a user and a manager of bio get: their own of it, and the same words for what exists and what does not."""
    user = request.getfixturevalue(person)
    seen = {1} if person == "alice" else {1, 2}
    said = []
    for text in (known, unknown):
        criteria = Criteria()
        parsed = narrow(criteria, text, seen_by(user))
        said.append([term.label.replace(text.lstrip("-"), "…") for term in parsed.terms] + criteria.problems)
        assert found(text, user) <= seen
    if ":" not in known:
        assert said[0] == said[1]


def test_a_bare_word_of_a_manager_may_be_anything_of_the_jobs_that_are_seen(jobs: list[Job], bob: User) -> None:
    for text, matching in (("bio", {1, 2}), ("ALICE", {1}), ("g01", {2}), ("first", {1}), ("Carl", set())):
        assert found(text, bob) == matching


def test_durations_of_running_jobs_are_until_now(admin: User) -> None:
    JobFactory.create(job_id=1, start_time=int(time.time()) - 7200, walltime=7500)

    for text, matching in (("duration:>1h", {1}), ("duration:<1h", set()), ("limit:>95%", {1}), ("limit:>99%", set())):
        assert found(text, admin) == matching
