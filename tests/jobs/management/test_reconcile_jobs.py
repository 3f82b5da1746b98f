"""reconcile_jobs: ghosts are stopped with the ends that Slurm knows, lost starts are started, nothing else is touched.

The documents in tests/data were written by squeue --json and sacct --json of Slurm 22.05.8 (Debian 12), on a cluster of
one node with the jobs 3 and 4, which run, and others that ended; the steps of sacct were left out.
"""

import copy
import http.server
import io
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.history import of_job, text_of
from jobs.models import Job
from jobs.reconcile.scheduler import RunningJob, SchedulerError, read_listing
from tests.support.commands import Run
from tests.support.factories import START, JobFactory
from tests.support.paths import DATA

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cluster")]

RECORDED = 1_795_900_155  # when the jobs 1 to 4 began
BEGAN = START  # when they begin here, so that all has passed whatever the clock says
LATER = BEGAN + 3600


def moved(value: Any) -> Any:
    """Return a recorded document with its times moved."""
    if isinstance(value, dict):
        return {key: moved(part) for key, part in value.items()}
    if isinstance(value, list):
        return [moved(part) for part in value]
    return value - RECORDED + BEGAN if isinstance(value, int) and value > RECORDED - 3600 and value < 2**31 else value


SQUEUE: dict[str, Any] = moved(json.loads((DATA / "slurm-22.05-squeue.json").read_text()))
SACCT: dict[str, Any] = moved(json.loads((DATA / "slurm-22.05-sacct.json").read_text()))


def newer(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document as releases from 23.11 on write it: numbers in objects, states in lists."""
    document = copy.deepcopy(document)
    for job in document["jobs"]:
        for name in ("start_time", "end_time", "cpus", "time_limit", "array_job_id"):
            if name in job:
                job[name] = {"set": job[name] is not None, "infinite": False, "number": job[name] or 0}
        if "job_state" in job:
            job["job_state"] = [job["job_state"]]
        else:
            job["state"]["current"] = [job["state"]["current"]]
    return document | {"warnings": [], "last_update": {"set": True, "infinite": False, "number": LATER}}


FORMS = pytest.mark.parametrize("form", [dict, newer], ids=["22.05", "newer"])


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Return a function that writes a file that was made at LATER, and returns its path."""

    def write(content: object, name: str = "list") -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        os.utime(path, (LATER, LATER))
        return path

    return write


def jobs(*job_ids: int, **changes: Any) -> list[Job]:
    """Store running jobs that began as the recorded ones."""
    return [JobFactory.create(job_id=job_id, **({"start_time": BEGAN} | changes)) for job_id in job_ids]


@FORMS
def test_a_document_of_squeue_is_read(form: Any) -> None:
    listing = read_listing(json.dumps(form(SQUEUE)).encode(), taken_at=LATER)
    assert listing.running[4] == RunningJob(
        4, BEGAN, "root", "", "main", "wrap", "localhost", cpus=1, walltime=300, array_job_id=3
    )
    assert set(listing.running) == {3, 4}
    ends = {end.job_id: (end.state, end.stop_time - BEGAN) for end in listing.ended}
    assert ends[1] == ("CANCELLED", 213)
    assert ends[6] == ("FAILED", 217)


@FORMS
def test_ghosts_get_the_state_and_end_that_squeue_remembers(run: Run, write: Any, form: Any) -> None:
    runs, ghost = jobs(3, 1)

    outcome = run("reconcile_jobs", "--cluster", "testcluster", write(form(SQUEUE)), "--yes")

    assert outcome.status == 0, outcome.err
    assert "1 job stopped, 0 started, 0 refused." in outcome.lines
    ghost.refresh_from_db()
    runs.refresh_from_db()
    assert (ghost.job_state, ghost.duration, runs.job_state) == ("cancelled", 213, "running")
    assert text_of(of_job(ghost.pk).get()).splitlines() == [
        "Stopped by reconcile_jobs: cancelled, ended 2023-11-14 22:16:53 UTC (by the scheduler's accounting).",
        "Note: The scheduler of testcluster does not list the job any more.",
        text_of(of_job(ghost.pk).get()).splitlines()[-1],
    ]
    assert Job.objects.awaiting_archive().get() == ghost


@FORMS
def test_ghosts_get_the_state_and_end_that_sacct_has(run: Run, write: Any, form: Any) -> None:
    cancelled, running, unknown = jobs(2, 4, 77)
    completed, earlier = jobs(5, start_time=BEGAN + 217) + jobs(5, start_time=BEGAN - 9000, walltime=600)
    arguments = ["--cluster", "testcluster", write("3"), "--sacct", write(form(SACCT), "sacct"), "--yes"]

    outcome = run("reconcile_jobs", *arguments)

    assert "4 of alice runs by the word of sacct; it is left alone" in outcome.err
    for job in (cancelled, running, unknown, completed, earlier):
        job.refresh_from_db()
    assert (cancelled.job_state, cancelled.duration) == ("cancelled", 234)
    assert (completed.job_state, completed.duration) == ("completed", 1)
    assert (earlier.job_state, earlier.duration) == ("failed", 600)  # another run of the same jobId
    assert (unknown.job_state, unknown.duration) == ("failed", unknown.walltime)
    assert running.is_running


def test_a_dry_run_prints_the_differences_as_json(run: Run, write: Any) -> None:
    ghost, other = jobs(1) + jobs(4, start_time=BEGAN - 9000)
    arguments = ["--cluster", "testcluster", write(SQUEUE), "--dry-run", "--json"]

    told = json.loads(run("reconcile_jobs", *arguments).out)

    (ghosts, missing, other_start) = (told.pop(name) for name in ("ghosts", "missing", "otherStart"))
    assert told == {"cluster": "testcluster", "takenAt": LATER, "here": 2, "there": 2, "endedHere": []}
    assert ghosts == [
        {
            "jobId": 1,
            "user": ghost.user,
            "startTime": BEGAN,
            "stopTime": BEGAN + 213,
            "jobState": "cancelled",
            "why": "by the scheduler's accounting",
        }
    ]
    assert missing == [{"jobId": 3, "user": "root", "startTime": BEGAN, "nodes": "localhost"}]
    assert other_start == [{"jobId": 4, "user": other.user, "startTime": BEGAN - 9000, "startTimeThere": BEGAN}]
    assert Job.objects.running().count() == 2
    assert run("reconcile_jobs", *arguments[:3], "--json").status == 2


def test_without_a_known_end_the_options_decide(run: Run, write: Any) -> None:
    first, second = jobs(8) + jobs(9, start_time=BEGAN + 2000)
    arguments = ["--cluster", "testcluster", write("1"), "--state", "completed", "--end", BEGAN + 1000, "--yes"]
    assert run("reconcile_jobs", *arguments).status == 0
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.job_state, first.duration) == ("completed", 1000)
    assert second.duration == 0  # not before its start


def test_lost_starts_are_started_from_the_document(run: Run, write: Any) -> None:
    document = copy.deepcopy(SQUEUE)
    for job, nodes in zip(
        (job for job in document["jobs"] if job["job_id"] in (3, 4)), ("n[01-02]", "x9"), strict=True
    ):
        job.update(nodes=nodes, account="bio", user_name="alice", tres_alloc_str="cpu=1,gres/gpu=4,gres/gpu:a100=4")
    path = write(document)
    assert "2 run there alone:" in run("reconcile_jobs", "--cluster", "testcluster", path).lines
    assert not Job.objects.exists()

    outcome = run("reconcile_jobs", "--cluster", "testcluster", path, "--start-missing", "--yes")

    assert outcome.status == 1
    assert "0 jobs stopped, 1 started, 1 refused." in outcome.lines
    assert "not started: 3 of alice: no subcluster found" in outcome.err
    job = Job.objects.get()
    found = (job.job_id, job.user, job.project, job.partition, job.start_time, job.walltime, job.array_job_id)
    assert found == (4, "alice", "bio", "main", BEGAN, 300, 3)
    assert ([node["hostname"] for node in job.nodes], job.num_acc) == (["n01", "n02"], 4)
    assert job.metadata == {"jobName": "wrap"}
    assert "Started by reconcile_jobs." in text_of(of_job(job.pk).get())


def test_what_differs_otherwise_is_only_printed(run: Run, write: Any) -> None:
    jobs(3, start_time=BEGAN + 7)
    ended = JobFactory.create(job_id=4, start_time=BEGAN, finished=True)
    JobFactory.create(job_id=3, cluster="other", start_time=BEGAN)
    before = list(Job.objects.order_by("pk").values())

    outcome = run("reconcile_jobs", "--cluster", "testcluster", write(SQUEUE), "--start-missing", "--yes")

    assert outcome.status == 0
    assert outcome.lines[1:] == [
        "0 run here alone.",
        "0 run there alone.",
        "1 run there and have ended here:",
        "  4 of alice: completed here since 2023-11-14 22:23:20 UTC",
        "1 have another start time there:",
        "  3 of alice: 2023-11-14 22:13:27 UTC here, 2023-11-14 22:13:20 UTC there",
    ]
    assert list(Job.objects.order_by("pk").values()) == before
    assert ended.stop_time == BEGAN + 600


def test_what_began_just_before_the_list_is_left_alone(run: Run, write: Any) -> None:
    """Its start, or its stop, may be on the way."""
    jobs(9, start_time=LATER - 59)
    document = {"jobs": [{"job_id": 10, "job_state": "RUNNING", "start_time": LATER - 30, "nodes": "n01"}]}
    outcome = run("reconcile_jobs", "--cluster", "testcluster", write(document), "--start-missing", "--yes")
    assert outcome.lines[1:3] == ["0 run here alone.", "0 run there alone."]


def test_a_dry_run_changes_nothing(run: Run, write: Any) -> None:
    (ghost,) = jobs(1)
    outcome = run("reconcile_jobs", "--cluster", "testcluster", write("3, 4"), "--start-missing", "--dry-run")
    assert outcome.lines[1:] == [
        "1 run here alone:",
        "  1 of alice since 2023-11-14 22:13:20 UTC: ends 2023-11-14 23:13:20 UTC failed (start and requested time)",
        "2 run there alone:",
        "  3",
        "  4",
        "0 run there and have ended here.",
        "0 have another start time there.",
    ]
    ghost.refresh_from_db()
    assert ghost.is_running


@pytest.mark.parametrize("content", ['{"jobs": []}', "JOBID\n"])
def test_a_list_without_jobs_is_believed_only_on_request(run: Run, write: Any, content: str) -> None:
    (job,) = jobs(1)
    arguments = ["--cluster", "testcluster", write(content), "--yes"]
    outcome = run("reconcile_jobs", *arguments)
    assert (outcome.status, "--allow-empty" in outcome.err) == (2, True)
    assert run("reconcile_jobs", *arguments, "--allow-empty").status == 0
    job.refresh_from_db()
    assert not job.is_running


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "the list is empty"),
        ("slurm_load_jobs error: Unable to contact slurm controller", "'slurm_load_jobs' is no jobid"),
        ('{"jobs": [', "the document cannot be read"),
        ('{"jobs": [{"job_id": "x"}]}', "the document cannot be read"),
        ('{"jobs": [], "errors": [{"error": "Unable to contact slurm controller"}]}', "Unable to contact"),
        ("17 -4", "'-4' is no jobid"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused(content: str, reason: str) -> None:
    with pytest.raises(SchedulerError, match=reason):
        read_listing(content.encode(), taken_at=LATER)


@pytest.mark.parametrize(
    "arguments", [[], ["list", "--squeue"], ["nowhere"], ["--slurmrestd"], ["--squeue"], ["list", "--sacct", "nowhere"]]
)
def test_lists_that_cannot_be_had_are_bad_usage(
    run: Run, write: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str]
) -> None:
    jobs(1)
    write("3")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run("reconcile_jobs", "--cluster", "testcluster", *arguments, "--yes").status == 2
    assert Job.objects.get().is_running


def test_the_list_may_come_from_stdin(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs(1, start_time=START)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"JOBID\n2\n")))
    assert "1 run here alone:" in run("reconcile_jobs", "--cluster", "testcluster", "-", "--dry-run").lines


@pytest.fixture
def slurmrestd(settings: Any) -> Iterator[list[Any]]:
    """Return the headers of the requests to a server that answers as slurmrestd does, with the recorded jobs."""
    seen: list[Any] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers)
            body = json.dumps(SQUEUE).encode()
            self.send_response(200 if self.headers["X-SLURM-USER-TOKEN"] == "secret" else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/slurm/v0.0.38/jobs"
        settings.SLURMRESTD = {"testcluster": {"url": url, "user": "slurm", "token": "secret"}, "*": {"url": url}}
        yield seen
        server.shutdown()


def test_slurmrestd_is_asked_with_user_and_token(run: Run, slurmrestd: list[Any]) -> None:
    jobs(3, 1, start_time=int(time.time()) - 3600)
    outcome = run("reconcile_jobs", "--cluster", "testcluster", "--slurmrestd", "--dry-run")
    assert outcome.lines[1] == "1 run here alone:"
    assert slurmrestd[0]["X-SLURM-USER-NAME"] == "slurm"
    JobFactory.create(cluster="other")
    refused = run("reconcile_jobs", "--cluster", "other", "--slurmrestd", "--dry-run")
    assert (refused.status, "401" in refused.err) == (2, True)
