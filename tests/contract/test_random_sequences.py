"""Random sequences of starts, stops, tags, edits, deletions, archiving and retention, against a simple model."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from django.core.management import call_command
from hypothesis import strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from jobs.archiving.worker import ArchiveWorker
from jobs.models import Job
from tests.support.clients import AppClient
from tests.support.random_input import examples

START = 1_700_000_000
WINDOW = 60  # seconds, DUPLICATE_START_WINDOW
JOB_IDS = strategies.integers(1, 3)
OFFSETS = strategies.sampled_from([0, 30, 60, 61, 200])
DURATIONS = strategies.sampled_from([0, 10, 100])
NAMES = strategies.sampled_from(["good", "bad"])


@dataclass
class Run:
    """What is expected of one run."""

    job_id: int
    start: int
    stop: int | None = None
    status: int = 1
    tags: set[str] = field(default_factory=set)
    issue: str = ""

    @property
    def key(self) -> tuple[int, int]:
        """Return what the folder in the archive is named after."""
        return self.job_id, self.start


class Model(RuleBasedStateMachine):
    """The server's jobs by database id as they must be, and the keys of the folders in the archive.

    `client` and `root` are set by the test.
    """

    client: AppClient
    root: Path

    def __init__(self) -> None:
        super().__init__()
        Job.objects.all().delete()
        shutil.rmtree(self.root / "testcluster" / "0", ignore_errors=True)
        self.runs: dict[int, Run] = {}
        self.folders: set[tuple[int, int]] = set()  # a deleted job leaves its own

    def _pick(self, number: int) -> tuple[int, Run]:
        return sorted(self.runs.items())[number % len(self.runs)]

    @rule(job_id=JOB_IDS, offset=OFFSETS)
    def start(self, job_id: int, offset: int) -> None:
        begin = START + offset
        same = [run for run in self.runs.values() if run.job_id == job_id and abs(run.start - begin) <= WINDOW]
        refused = any(run.start == begin or run.stop is None or run.stop > begin for run in same)
        answer = self.client.start(jobId=job_id, startTime=begin)
        assert answer.status == (422 if refused else 201), (answer, same)
        if not refused:
            self.runs[answer.json["id"]] = Run(job_id, begin)

    @rule(job_id=JOB_IDS, end=OFFSETS)
    def stop_by_job_id(self, job_id: int, end: int) -> None:
        """The newest running one of the runs that had started by then ends, if one does."""
        started = [run for run in self.runs.values() if run.job_id == job_id and run.start <= START + end]
        running = max((run for run in started if run.stop is None), key=lambda run: run.start, default=None)
        answer = self.client.stop(jobId=job_id, cluster="testcluster", stopTime=START + end, jobState="failed")
        assert answer.status == (200 if running else 422), answer
        if running:
            running.stop = START + end

    @precondition(lambda self: self.runs)
    @rule(number=strategies.integers(0, 9), duration=DURATIONS)
    def stop_by_id(self, number: int, duration: int) -> None:
        row_id, run = self._pick(number)
        body = {"stopTime": run.start + duration, "jobState": "failed"}
        answer = self.client.post(f"/api/jobs/stop_job/{row_id}", body)
        assert answer.status == (200 if run.stop is None else 422), answer
        run.stop = run.start + duration if run.stop is None else run.stop

    @precondition(lambda self: self.runs)
    @rule(number=strategies.integers(0, 9), name=NAMES, remove=strategies.booleans())
    def tag(self, number: int, name: str, remove: bool) -> None:
        row_id, run = self._pick(number)
        method = "DELETE" if remove else "POST"
        answer = self.client.request(method, f"/api/jobs/tag_job/{row_id}", [{"type": "perf", "name": name}])
        assert answer.status in ((200, 404) if remove else (200,)), answer
        run.tags = run.tags - {name} if remove else run.tags | {name}

    @precondition(lambda self: self.runs)
    @rule(number=strategies.integers(0, 9), value=NAMES)
    def edit(self, number: int, value: str) -> None:
        row_id, run = self._pick(number)
        answer = self.client.request("PATCH", f"/api/jobs/edit_meta/{row_id}", {"key": "issue", "value": value})
        assert answer.status == 200, answer
        run.issue = value

    @precondition(lambda self: self.runs)
    @rule(number=strategies.integers(0, 9))
    def delete(self, number: int) -> None:
        row_id, _ = self._pick(number)
        assert self.client.delete(f"/api/jobs/delete_job/{row_id}").status == 200
        del self.runs[row_id]

    @rule(offset=OFFSETS)
    def delete_before(self, offset: int) -> None:
        self.client.delete(f"/api/jobs/delete_job_before/{START + offset}")
        self.runs = {row_id: run for row_id, run in self.runs.items() if run.start >= START + offset}

    @rule()
    def archive(self) -> None:
        """What has ended is archived, and meta.json has all edits made so far."""
        ArchiveWorker().drain()
        for row_id, run in self.runs.items():
            if run.stop is not None and run.status == 1:
                run.status = 3
                self.folders.add(run.key)
            if run.status == 3:
                meta = self._meta(run)
                assert (meta["id"], meta["jobState"], meta["duration"]) == (row_id, "failed", run.stop - run.start)  # type: ignore[operator]
                assert {tag["name"] for tag in meta.get("tags") or []} == run.tags
                assert (meta.get("metaData") or {}).get("issue", "") == run.issue

    @rule()
    def retain(self) -> None:
        """Archived jobs leave the archive; their rows stay."""
        call_command("retain_archive", "--older-than", "0", "--do", "delete", "--yes", verbosity=0)
        for run in self.runs.values():
            if run.status == 3:
                run.status = 0
                self.folders.discard(run.key)

    @invariant()
    def as_the_server_has_it(self) -> None:
        jobs = self.client.get("/api/jobs/?items-per-page=-1").json["jobs"]
        found = {job["id"]: self._seen(job) for job in jobs}
        assert found == {row_id: self._expected(run) for row_id, run in self.runs.items()}
        metas = (self.root / "testcluster" / "0").rglob("meta.json")
        keys = {(int(path.parts[-3]), int(path.parts[-2])) for path in metas}
        assert keys == self.folders

    def _seen(self, job: Any) -> tuple[Any, ...]:
        ended = job["jobState"] != "running"
        stop = job["startTime"] + job["duration"] if ended else None
        tags = {tag["name"] for tag in job.get("tags") or []}
        return job["jobId"], job["startTime"], stop, job["monitoringStatus"], tags

    def _expected(self, run: Run) -> tuple[Any, ...]:
        return run.job_id, run.start, run.stop, run.status, run.tags

    def _path(self, run: Run) -> Path:
        return self.root / "testcluster" / "0" / f"{run.job_id:03}" / str(run.start) / "meta.json"

    def _meta(self, run: Run) -> Any:
        return json.loads(self._path(run).read_bytes())


@pytest.mark.usefixtures("cluster", "synthetic")
def test_random_sequences_leave_what_a_simple_model_has(api: AppClient, archive_root: Path) -> None:
    class Here(Model):
        client, root = api, archive_root

    run_state_machine_as_test(Here, settings=hypothesis.settings(examples(8), stateful_step_count=15))
