"""The plan of each statement that works on a large table: which index, no scan, no sort of more than a page."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import User
from jobs.admin import changelist, filters, list_statistics
from jobs.api import conditions
from jobs.archiving import queue
from jobs.bulk.changing import confirm, go_on, undo
from jobs.bulk.selecting import begin_selection, select_all
from jobs.curation import set_metadata
from jobs.deletion import services
from jobs.deletion.services import delete_job, delete_next
from jobs.deletion.steps import Plan as Deletion
from jobs.health import ghosts
from jobs.health.look import Look
from jobs.history import Actor, of_job
from jobs.intake.services import start_job, stop_job
from jobs.ledger import backlog
from jobs.maintenance.check import DatabaseCheck
from jobs.messages import Resource, StartJob, TagName
from jobs.models import ArchiveTask, Job, JobTag
from jobs.overview.digest import digest
from jobs.overview.nodes import used_nodes
from jobs.overview.usage import Days, Question, usage_of
from jobs.reconcile.compare import compare
from jobs.reconcile.scheduler import Listing, RunningJob
from jobs.records import TagRule
from jobs.rows.select import fetch_rows
from jobs.search import criteria, find, summary
from jobs.search.box import narrow
from jobs.search.summary import Budget
from jobs.states import BulkKind
from jobs.tag_rules.applying import tag_archived
from jobs.tags.services import delete_tags, tag_job, tag_jobs, untag_job
from tests.support import plans
from tests.support.factories import UserFactory
from tests.support.plan_cases import Case, case, listed, lists, problems_of
from tests.support.plans import JOBS, START, key_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cluster")]


def calls(actor: Actor) -> list[Case]:
    """Return the cases of the API's other calls."""
    job = StartJob(
        job_id=1, user="alice", cluster="testcluster", resources=[Resource(hostname="n01")], start_time=START
    )
    by_key: dict[str, Any] = {"job_id": 100_000 + JOBS, "cluster": "testcluster", "start_time": START + JOBS}
    tags = [TagName(type="ticket", name="9")]
    return [
        case("start", lambda: start_job(job=job), "jobs_run_once", prepared=True),
        case(
            "stop",
            lambda: stop_job(stop_time=START + 2 * JOBS, job_state="completed", **by_key),
            "jobs_run_once",
            prepared=True,
        ),
        case(
            "stop by job id",
            lambda: stop_job(stop_time=START + 2 * JOBS, job_state="failed", job_id=100_000 + JOBS - 1),
            "jobs_run_once",
            prepared=True,
        ),
        case("stop by row id", lambda: stop_job(stop_time=START + 2 * JOBS, job_state="failed", row_id=JOBS - 2), "pk"),
        case("tag", lambda: tag_job(row_id=7, tags=tags, actor=actor), "pk", prepared=True),
        case("untag", lambda: untag_job(row_id=7, tags=tags, actor=actor), "pk", prepared=True),
        case(
            "tag many", lambda: tag_jobs(row_ids=list(range(50, 90)), tags=tags, actor=actor), "pk", may="links_by_tag"
        ),
        case("delete tags", lambda: delete_tags(tag_ids=[30]), "links_by_tag"),
        case("edit metadata", lambda: set_metadata(row_id=8, key="a", value="b", actor=actor), "pk"),
        case("a job", lambda: fetch_rows([1, 2, 3]), "pk"),
        case("used nodes", lambda: used_nodes(before=START + 2 * JOBS), "jobs_running"),
        case("delete a job", lambda: delete_job(job_id=100_000 + 11, actor=actor), "jobs_run_once"),
    ]


def worker() -> list[Case]:
    """Return the cases of the archive worker and of the commands that share its queue."""
    some = list(range(1000, 1005))

    def work() -> None:
        first, second, third, *_ = queue.claim_waiting("me:1:a", "testcluster", 10)
        queue.renew("me:1:a")
        queue.finish("me:1:a", [(first, queue.Written("{}"))])
        queue.fail("me:1:a", second, "no answer", permanent=False)
        queue.fail("me:1:a", third, "no answer", permanent=True)
        queue.clear_backoff(only=[second.row_id])
        assert queue.claim_waiting("me:1:a", "testcluster", 100, newest=True)
        queue.release("me:1:a")

    def remove() -> None:
        assert len(queue.claim_for_removal("me:1:a", some)) == len(some)
        assert len(queue.retire("me:1:a", some[:2])) == 2
        queue.reinstate({some[0]: 3})
        queue.end_removal("me:1:a", some)

    def reclaim() -> None:
        ArchiveTask.objects.create(job_id=2001, worker="dead:1:a", not_before=timezone.now())
        queue.reclaim_expired()

    def book() -> None:
        first, second = backlog.book_next(2)
        assert (first, backlog.book_next(1, below=second)) == (JOBS // 2000 * 2000 - 2000, [second - 2000])

    def tag_by_rules() -> None:
        words = ("state:failed user:user7", "host:n3 limit:>9%", "metric1:<1%", "name:gromacs -tag:ticket:7")
        TagRule.objects.bulk_create([TagRule(words=each, tag_id=2 + number) for number, each in enumerate(words)])
        tag_archived(range(300, 340))
        assert not TagRule.objects.exclude(error="").exists()
        TagRule.objects.all().delete()

    return [
        case("tag by rules", tag_by_rules, "pk", may="links_by_tag jobs_to_book walk:jobs_to_book"),
        case("book", book, "jobs_to_book", "jobs_deleted_run_once", prepared=True),
        case("clusters that wait", queue.waiting_clusters, "jobs_to_archive", prepared=True),
        case("archive", work, "jobs_to_archive", "jobs_deleted_run_once", prepared=True),
        case("claim edits", lambda: queue.claim_edited("me:1:a", 10), "pk", prepared=True),
        case("claim named edits", lambda: queue.claim_edited("me:1:a", 10, only=[7, 14]), "pk"),
        case("remove", remove, "pk", prepared=True),
        case("reclaim", reclaim, "pk", prepared=True),
        case("record edits", lambda: queue.record_edit(some), "pk"),
        case("write again", lambda: queue.write_again(some), "pk"),
        case("retry what failed", lambda: queue.retry_failed(only=some), may="jobs_archiving_failed"),
        case("retry all that failed", queue.retry_failed, "jobs_archiving_failed"),
    ]


def commands() -> list[Case]:
    """Return the cases of commands, as far as they do not read all jobs."""
    old = Deletion(start_time=START + 3000)
    keys = [key_of(number) for number in range(100, 120)]
    rows = DatabaseCheck()
    of_week = "jobs_by_start links_by_tag jobs_tag_on_job_once"
    listing = Listing(START + 2 * JOBS, {number: RunningJob(number, START) for number in range(90_000, 90_020)})

    def weekly() -> None:
        TagRule.objects.bulk_create([TagRule(words=f"nodes:{number}", tag_id=number) for number in (1, 7)])
        digest(START + JOBS // 2)
        TagRule.objects.all().delete()

    def first_rows() -> None:
        next(rows.rows_without_folder())

    return [
        case("delete before", lambda: delete_next(old.jobs, since=START + 1000), "jobs_by_start", may="links_by_job"),
        case(
            "delete before, of a cluster",
            lambda: delete_next(Deletion(START + 3000, "other").jobs, since=START + 1000),
            "jobs_by_cluster",
        ),
        case(
            "delete before, without tagged",
            lambda: delete_next(Deletion(START + 9000, omit_tagged="user").jobs, since=START + 5000),
            "jobs_by_start",
        ),
        case("digest", weekly, "jobs_usage_once", may=of_week, sorts=True),
        case("reconcile", lambda: compare("testcluster", listing), "jobs_running", "jobs_run_once"),
        case("ghosts", lambda: ghosts.find(START + 2 * JOBS), "jobs_running"),
        case("walltimes", lambda: list(ghosts.check_walltime(Look(START + 2 * JOBS))), "jobs_running"),
        case("newest run", Job.objects.with_keys(cluster="testcluster", job_id=100_017).first, "jobs_run_once"),
        case("ids of keys", lambda: Job.objects.ids_of(keys), "jobs_run_once"),
        case("rows of folders", first_rows, "pk"),
        case("busy", lambda: list(Job.objects.filter(pk__in=[1, 2]).busy()), "pk", may="jobs_running"),
        case("tagged", lambda: list(JobTag.objects.filter(job_id__in=[1, 2])), "jobs_tag_on_job_once"),
    ]


def pages(admin: User) -> list[Case]:
    """Return the cases of the admin site."""
    client = Client()
    client.force_login(admin)

    of_manager = Client()
    of_manager.force_login(UserFactory.create(roles=["manager"], projects=["bio", "proj7"]))

    def page(
        path: str, *uses: str, may: str = "", sorts: bool = False, guessed: str = "", client: Client = client
    ) -> Case:
        def act() -> None:
            cache.clear()
            assert client.get(f"/admin/{path}").status_code == 200

        # PostgreSQL walks through all values of the first column of that index if there are few.
        started = "jobs_by_start walk:jobs_by_start jobs_by_sub_cluster"
        return case(f"page {path}", act, *uses, may=f"{started} {may}", guessed=f"links_by_tag {guessed}", sorts=sorts)

    # A part of a small table that is as large as a step, which a fast machine makes long, is read with the rest of it.
    footprints = "walk:jobs_footprints_by_start"
    footprints += " scan:jobs_jobfootprint" if connection.vendor == "postgresql" else ""
    numbers = "jobs_running jobs_to_archive jobs_by_cluster"
    unbooked, scanned, names = (
        "jobs_to_book walk:jobs_to_book",
        "scan:jobs_job" if connection.vendor == "postgresql" else "",
        "jobs_by_user walk:jobs_by_user jobs_by_project walk:jobs_by_project",
    )
    return [
        page("jobs/job/", "walk:jobs_by_start"),
        page("jobs/job/?p=3"),
        page("jobs/job/?state=running", "jobs_running"),
        page("jobs/job/?state=failed", may="jobs_by_rare_state"),
        page("jobs/job/?archiving=failed", "jobs_archiving_failed"),
        page("jobs/job/?archiving=waiting", "jobs_to_archive"),
        page("jobs/job/?user=user7&state=failed", "jobs_by_user", may="jobs_by_rare_state"),
        page("jobs/job/?project=proj7", "jobs_by_project"),
        page(
            "jobs/job/?cluster=testcluster&nodes_from=9",
            "jobs_footprints_by_start|walk:jobs_footprints_by_start",
            may=f"{footprints} {unbooked} {numbers}",
            sorts=True,
            guessed=scanned,
        ),
        page("jobs/job/?q=job:100007", "jobs_run_once"),
        page("jobs/job/?q=tag:ticket:7", "links_by_tag"),
        page("jobs/job/?q=tag:ticket", may="links_by_tag scan:jobs_jobtag"),
        page("jobs/job/?q=host:n3", "jobs_of_node", "jobs_running", "jobs_to_archive", may=unbooked, sorts=True),
        page(
            "jobs/job/?q=host:n1*",
            "jobs_of_node",
            "jobs_running",
            "jobs_to_archive",
            may=unbooked,
            sorts=True,
            guessed=scanned,
        ),
        page(
            "jobs/job/?q=host:n3+state:failed",
            "jobs_of_node",
            "jobs_running",
            may=f"{unbooked} jobs_to_archive jobs_by_rare_state",
            sorts=True,
            guessed="jobs_ended",
        ),
        page("jobs/job/?q=n3", "jobs_of_node", "jobs_running", may=f"{unbooked} {names} jobs_to_archive", sorts=True),
        page("jobs/job/?q=user:user7,user14", "jobs_by_user", sorts=True),
        page("jobs/job/?q=user:USER7", "jobs_by_user"),
        page("jobs/job/?q=user:user1*", may="jobs_by_user", sorts=True, guessed=scanned),
        page("jobs/job/?q=project:proj7*", "jobs_by_project", sorts=True),
        page("jobs/job/?q=partition:gpu+limit:>9%25", "jobs_by_partition|jobs_by_start", sorts=True, guessed=scanned),
        page("jobs/job/?q=user:user7+duration:>1h", "jobs_by_user", may=f"{unbooked}"),
        page("jobs/job/?q=state:timeout,out_of_memory", "jobs_by_rare_state", sorts=True, guessed="jobs_ended"),
        page("jobs/job/?q=array:77", "jobs_by_array"),
        page("jobs/job/?q=77_3", "jobs_by_array", "jobs_run_once"),
        page("jobs/job/?q=100007+100009+100011", "jobs_run_once"),
        page(
            "jobs/job/?q=metric1:<1%25",
            "jobs_footprints_by_start|walk:jobs_footprints_by_start",
            may=footprints,
            sorts=True,
            guessed=scanned,
        ),
        page("jobs/job/?q=metric1:<1%25+metric1.idle:>1%25+user:user7", "jobs_by_user"),
        page(
            "jobs/job/?q=name:gromacs",
            "jobs_footprints_by_start|walk:jobs_footprints_by_start",
            "jobs_running",
            may=f"{footprints} {unbooked} jobs_to_archive",
            sorts=True,
            guessed=scanned,
        ),
        page("jobs/job/?q=-user:alice+limit:>95%25", may=f"jobs_by_user {scanned}", sorts=True),
        page("jobs/job/?q=user:user7&sort=-elapsed", "jobs_by_user"),
        page("jobs/job/export/csv/?q=cores:9", may=scanned, sorts=True),
        *(
            page(
                f"jobs/job/statistics/{query}",
                "jobs_footprints_by_start|walk:jobs_footprints_by_start",
                "jobs_by_rare_state|jobs_by_start",
                may=f"{footprints} {unbooked} {numbers}",
                guessed=footprints,
            )
            for query in ("", "?started=7d")
        ),
        page("jobs/job/statistics/?user=user7", "jobs_by_user"),
        page("jobs/job/statistics/?state=failed", "jobs_by_rare_state", guessed=f"jobs_ended {scanned}"),
        page("jobs/job/statistics/?q=host:n3", "jobs_of_node", "jobs_running", may=f"{unbooked} jobs_to_archive"),
        page("jobs/job/5000/change/", "jobs_history_of_object"),
        page("jobs/job/5000/history/", "jobs_history_of_object"),
        page(
            "",
            "jobs_usage_once",
            "jobs_running",
            "jobs_to_archive",
            "jobs_by_cluster",
            "jobs_archiving_failed",
            "jobs_history_of_user",
            may="jobs_to_book",
            sorts=True,
            guessed=scanned,
        ),
        page("clusters/", "jobs_running", "jobs_by_cluster"),
        page("clusters/testcluster/", "jobs_running"),
        *(
            page(
                f"clusters/testcluster/n17/{query}",
                "jobs_of_node",
                "jobs_running",
                "jobs_to_archive",
                "jobs_usage_once",
                may="jobs_to_book",
            )
            for query in ("", "?at=2026-11-18T18:00")
        ),
        page(
            "my-jobs/", "jobs_running|jobs_by_user", "jobs_by_user", "jobs_usage_by_user", may="jobs_ended", sorts=True
        ),
        page(
            "my-jobs/",
            "jobs_running",
            "jobs_by_user|jobs_by_start",
            "jobs_by_project|jobs_by_start",
            "jobs_usage_by_project|jobs_usage_once",
            may="jobs_usage_by_user jobs_by_rare_state jobs_ended",
            sorts=True,
            client=of_manager,
        ),
        page("usage/?month=2026-10&by=project", "jobs_usage_once", sorts=True),
        page("usage/?month=2026-10&by=project&user=alice", "jobs_usage_by_user", sorts=True),
        case(
            "usage of a cluster",
            lambda: usage_of(admin, Question(Days(20, 30), "user", clusters=["testcluster"])),
            "jobs_usage_once",
            sorts=True,
        ),
        page("usage/?from=2026-10-01&to=2026-10-04&cluster=testcluster&by=state", "jobs_usage_once", sorts=True),
    ]


def bulk(admin: User) -> list[Case]:
    """Return the cases of bulk changes."""

    def select_next(text: str) -> Callable[[], object]:
        found = criteria.Criteria()
        narrow(found, text, None)
        search = find.Search(seen=None, criteria=found)
        place = find.Place(START + JOBS // 2, JOBS // 2)
        return lambda: search.next_values("project", "partition", most=100, after=place)

    def change() -> None:
        begun = begin_selection(kind=BulkKind.CORRECT, actor=Actor(admin.pk), query="", conditions="")
        begun = select_all(begun, Job.objects.filter(pk__in=range(200, 260)))
        begun = confirm(change=begun, wanted={"project": "chem"}, note="x", actor=Actor(admin.pk))
        assert go_on(change_id=begun.pk, user=admin).outcome.changed == 60
        assert go_on(change_id=undo(change=begun, actor=Actor(admin.pk)).pk, user=admin).outcome.restored == 60
        assert len(of_job(210)) >= 2

    # A step of 8000 jobs is a large part of this table.
    whole = "scan:jobs_job" if connection.vendor == "postgresql" else ""
    return [
        case("select all", select_next(""), "jobs_by_start|jobs_by_sub_cluster"),
        case("select a user's", select_next("user:user7"), "jobs_by_user"),
        case(
            "select by name",
            select_next("name:gromacs"),
            may=f"jobs_by_start jobs_by_sub_cluster jobs_footprints_by_start walk:jobs_footprints_by_start "
            f"jobs_running jobs_to_archive jobs_to_book {whole}",
            sorts=True,
            guessed="scan:jobs_jobfootprint",
        ),
        case("select a user's by name", select_next("user:user7 name:gromacs"), "jobs_by_user", sorts=True),
        case("correct many", change, "pk", "jobs_usage_once|jobs_usage_by_project", "jobs_history_of_object"),
    ]


@pytest.mark.parametrize("analyzed", [False, True], ids=["without statistics", "with statistics"])
def test_statements_on_large_tables_use_their_indexes(
    analyzed: bool, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans.fill(admin, analyzed=analyzed)
    # The table is small, and so must be the parts of it that are read at once.
    monkeypatch.setattr(conditions, "_FEW_TO_SORT", 1000)
    monkeypatch.setattr(criteria, "FEW", 1000)
    monkeypatch.setattr(find, "FIRST_STEP", 100)
    monkeypatch.setattr(find, "_MOST_STEPS", 2)
    monkeypatch.setattr(changelist, "BUDGET", 9.0)
    monkeypatch.setattr(summary, "FIRST_STEP", 100)
    monkeypatch.setattr(list_statistics, "USUAL", Budget(9.0, 2))
    monkeypatch.setattr(changelist.JobPages, "limit", 200)
    monkeypatch.setattr(filters, "_NEWEST", 100)
    monkeypatch.setattr(services, "_DELETE_BATCH", 20)
    cases = [
        *lists(),
        *worker(),
        *calls(Actor(admin.pk)),
        *pages(admin),
        *bulk(admin),
        *commands(),
    ]  # the last ones delete
    guesses = connection.vendor == "postgresql" and not analyzed
    problems = [problem for each in cases for problem in problems_of(each, guesses=guesses)]
    assert not problems, "\n".join(problems)


def test_ended_jobs_are_not_looked_for_behind_the_running_ones(admin: User) -> None:
    plans.fill(admin, analyzed=connection.vendor == "postgresql")
    span = f"start-time={START}-{START + JOBS}"
    cases = [
        listed("state=completed", "walk:jobs_ended"),
        listed(f"cluster=testcluster&state=completed&state=failed&{span}&page=3", "jobs_ended", may="jobs_by_cluster"),
    ]
    problems = [problem for each in cases for problem in problems_of(each, guesses=False)]
    assert not problems, "\n".join(problems)
