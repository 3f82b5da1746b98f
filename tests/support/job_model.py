"""A simple model of the jobs of one cluster, and the steps that the server and the model take side by side."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from django.core.management import call_command
from hypothesis import strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from archive.format.layout import JobKey, job_folder
from jobs import curation
from jobs.archiving.worker import ArchiveWorker
from jobs.history import Actor
from jobs.ledger import audit
from jobs.models import ArchiveTask, Job
from jobs.records import DeletedJob, JobNode, Usage
from tests.support.clients import AppClient
from tests.support.waiting import wait_for

WINDOW = 60  # seconds, DUPLICATE_START_WINDOW
JOB_IDS = (1, 2, 3)
OFFSETS = (0, 30, 60, 61, 200)
DURATIONS = (0, 10, 100)
NUMBERS = range(10)
NAMES = ("good", "bad")

_ARCHIVED_WITHIN = 60.0  # seconds, where other workers hold some of the jobs


@dataclass
class Run:
    """What is expected of one run."""

    job_id: int
    start: int
    stop: int | None = None
    status: int = 1
    project: str = "bio"
    issue: str = ""
    tags: set[str] = field(default_factory=set)

    @property
    def key(self) -> tuple[int, int]:
        """Return what the folder in the archive is named after."""
        return self.job_id, self.start

    @property
    def waits(self) -> bool:
        """Return whether a worker may write it at any moment."""
        return self.stop is not None and self.status == 1


@dataclass
class JobModel:
    """The jobs of a cluster by database id as they must be, and the keys of the folders in the archive.

    Its jobs start from `begin` on (epoch seconds). Unless it is `alone`, workers elsewhere archive jobs of this cluster
    at any moment, so a job that waits may be archived already. `first`: no job of another cluster starts earlier.
    """

    client: AppClient
    actor: Actor
    root: Path
    cluster: str = "testcluster"
    begin: int = 1_700_000_000
    alone: bool = True
    first: bool = True
    runs: dict[int, Run] = field(default_factory=dict)
    folders: set[tuple[int, int]] = field(default_factory=set)  # a deleted job leaves its own
    uncertain: set[tuple[int, int]] = field(default_factory=set)  # deleted while another worker may have written it

    STEPS: ClassVar[dict[str, dict[str, Sequence[Any]]]] = {
        "start": {"job_id": JOB_IDS, "offset": OFFSETS},
        "stop_by_job_id": {"job_id": JOB_IDS, "end": OFFSETS},
        "stop_by_id": {"number": NUMBERS, "duration": DURATIONS},
        "stop_by_hand": {"number": NUMBERS, "duration": DURATIONS},
        "tag": {"number": NUMBERS, "name": NAMES, "remove": (False, True)},
        "edit": {"number": NUMBERS, "value": NAMES},
        "correct": {"number": NUMBERS, "value": NAMES},
        "delete": {"number": NUMBERS},
        "delete_before": {"offset": OFFSETS},
        "archive": {},
        "archive_again": {"number": NUMBERS},
        "retain": {},
    }
    """The steps, and the values from which their arguments are drawn."""

    def take_random_step(self, random: Random) -> str:
        """Take a step, and return its name."""
        name = random.choice(list(self.STEPS))
        getattr(self, name)(**{key: random.choice(values) for key, values in self.STEPS[name].items()})
        return name

    def _pick(self, number: int) -> tuple[int, Run] | None:
        return sorted(self.runs.items())[number % len(self.runs)] if self.runs else None

    def start(self, job_id: int, offset: int) -> None:
        begin = self.begin + offset
        same = [run for run in self.runs.values() if run.job_id == job_id and abs(run.start - begin) <= WINDOW]
        refused = any(run.start == begin or run.stop is None or run.stop > begin for run in same)
        answer = self.client.start(jobId=job_id, startTime=begin, cluster=self.cluster)
        assert answer.status == (422 if refused else 201), (answer, same)
        if not refused:
            self.runs[answer.json["id"]] = Run(job_id, begin)

    def stop_by_job_id(self, job_id: int, end: int) -> None:
        """End the newest running one of the runs that had started by then, if there is one."""
        started = [run for run in self.runs.values() if run.job_id == job_id and run.start <= self.begin + end]
        running = max((run for run in started if run.stop is None), key=lambda run: run.start, default=None)
        answer = self.client.stop(jobId=job_id, cluster=self.cluster, stopTime=self.begin + end, jobState="failed")
        assert answer.status == (200 if running else 422), answer
        if running:
            running.stop = self.begin + end

    def stop_by_id(self, number: int, duration: int) -> None:
        if picked := self._pick(number):
            row_id, run = picked
            body = {"stopTime": run.start + duration, "jobState": "failed"}
            answer = self.client.post(f"/api/jobs/stop_job/{row_id}", body)
            assert answer.status == (200 if run.stop is None else 422), answer
            run.stop = run.start + duration if run.stop is None else run.stop

    def stop_by_hand(self, number: int, duration: int) -> None:
        if picked := self._pick(number):
            row_id, run = picked
            end = run.start + duration
            outcome = curation.stop_jobs(
                row_ids=[row_id], job_state="failed", stop_time=end, note="a ghost", actor=self.actor
            )
            assert bool(outcome.done) == (run.stop is None), outcome
            run.stop = end if run.stop is None else run.stop

    def tag(self, number: int, name: str, remove: bool) -> None:
        if picked := self._pick(number):
            row_id, run = picked
            method = "DELETE" if remove else "POST"
            answer = self.client.request(method, f"/api/jobs/tag_job/{row_id}", [{"type": "perf", "name": name}])
            assert answer.status in ((200, 404) if remove else (200,)), answer
            run.tags = run.tags - {name} if remove else run.tags | {name}

    def edit(self, number: int, value: str) -> None:
        if picked := self._pick(number):
            row_id, run = picked
            answer = self.client.request("PATCH", f"/api/jobs/edit_meta/{row_id}", {"key": "issue", "value": value})
            assert answer.status == 200, answer
            run.issue = value

    def correct(self, number: int, value: str) -> None:
        if picked := self._pick(number):
            row_id, run = picked
            edits = [curation.Edit("project", curation.fingerprint(run.project), value)]
            changed = curation.correct_job(row_id=row_id, edits=edits, note="was wrong", actor=self.actor)
            assert changed == (["project"] if run.project != value else [])
            run.project = value

    def delete(self, number: int) -> None:
        if picked := self._pick(number):
            row_id, _ = picked
            assert self.client.delete(f"/api/jobs/delete_job/{row_id}").status == 200
            self._forget(row_id)

    def delete_before(self, offset: int) -> None:
        before = self.begin + offset
        if self.first:
            self.client.delete(f"/api/jobs/delete_job_before/{before}")
        else:
            call_command("delete_jobs_before", str(before), "--cluster", self.cluster, "--yes", verbosity=0)
        for row_id in [row_id for row_id, run in self.runs.items() if run.start < before]:
            self._forget(row_id)

    def _forget(self, row_id: int) -> None:
        run = self.runs.pop(row_id)
        if run.waits and not self.alone:
            self.uncertain.add(run.key)

    def archive(self) -> None:
        """Archive all that has ended; meta.json has all edits made so far."""
        if self.alone:
            assert self._all_is_archived()
        else:
            wait_for(self._all_is_archived, _ARCHIVED_WITHIN)
        for row_id, run in self.runs.items():
            if run.waits:
                run.status = 3
                self.folders.add(run.key)
            if run.status == 3:
                self._check_meta(row_id, run)

    def _all_is_archived(self) -> bool:
        ArchiveWorker().drain()
        waiting = Job.objects.filter(cluster=self.cluster).awaiting_archive()
        return not waiting.exists() and not ArchiveTask.objects.filter(job__cluster=self.cluster).exists()

    def _check_meta(self, row_id: int, run: Run) -> None:
        key = JobKey(self.cluster, run.job_id, run.start)
        meta = json.loads((job_folder(self.root, key) / "meta.json").read_bytes())
        assert run.stop is not None
        found = meta["id"], meta["jobState"], meta["duration"], meta["project"]
        assert found == (row_id, "failed", run.stop - run.start, run.project)
        assert {tag["name"] for tag in meta.get("tags") or []} == run.tags
        assert (meta.get("metaData") or {}).get("issue", "") == run.issue

    def archive_again(self, number: int) -> None:
        """Let an archived job wait to be written anew; its files stay meanwhile."""
        if picked := self._pick(number):
            row_id, run = picked
            done = bool(curation.archive_again(row_ids=[row_id], actor=self.actor).done)
            assert done == (run.status == 3) or not self.alone
            if done:
                assert run.stop is not None
                run.status = 1
                self.folders.add(run.key)

    def retain(self) -> None:
        """Take all archived jobs out of the archive; their rows stay, and so do the files of runs that began anew."""
        if not self.alone:
            self.archive()
        options = ["--older-than", "0", "--do", "delete", "--cluster", self.cluster, "--yes"]
        call_command("retain_archive", *options, verbosity=0)
        self.folders &= {run.key for run in self.runs.values() if run.status == 1}  # runs, or waits
        for run in self.runs.values():
            run.status = 0 if run.status == 3 else run.status

    def check(self) -> None:
        """Compare with the jobs that the server lists and with the folders of the archive."""
        jobs = self.client.get(f"/api/jobs/?items-per-page=-1&cluster={self.cluster}").json["jobs"]
        if not self.alone:
            self._note_archived({job["id"] for job in jobs if job["monitoringStatus"] == 3})
        assert {job["id"]: _seen(job) for job in jobs} == {row_id: _expected(run) for row_id, run in self.runs.items()}
        metas = (self.root / self.cluster).rglob("[!.]*/meta.json")
        keys = {(int(path.parts[-4] + path.parts[-3]), int(path.parts[-2])) for path in metas}
        perhaps = self.uncertain | {run.key for run in self.runs.values() if run.waits and not self.alone}
        assert self.folders <= keys <= self.folders | perhaps, (keys, self.folders, perhaps)

    def _note_archived(self, row_ids: set[int]) -> None:
        for row_id, run in self.runs.items():
            if run.waits and row_id in row_ids:
                run.status = 3
                self.folders.add(run.key)


def _seen(job: Any) -> tuple[Any, ...]:
    stop = job["startTime"] + job["duration"] if job["jobState"] != "running" else None
    tags = {tag["name"] for tag in job.get("tags") or []}
    return job["jobId"], job["startTime"], stop, job["monitoringStatus"], job["project"], tags


def _expected(run: Run) -> tuple[Any, ...]:
    return run.job_id, run.start, run.stop, run.status, run.project, run.tags


def machine_of(new_model: Callable[[], JobModel]) -> type[RuleBasedStateMachine]:
    """Return a rule machine that takes the steps of a new model, on a server without jobs."""

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            for rows in (Job, Usage, JobNode, DeletedJob):
                rows._default_manager.all().delete()
            self.model = new_model()
            for folder in (self.model.root / self.model.cluster).glob("[0-9]*"):
                shutil.rmtree(folder)

        @invariant()
        def check(self) -> None:
            self.model.check()
            assert list(audit.differences()) == []

    def as_rule(name: str) -> Any:
        def step(self: Machine, **arguments: Any) -> None:
            getattr(self.model, name)(**arguments)

        drawn = {key: strategies.sampled_from(list(values)) for key, values in JobModel.STEPS[name].items()}
        decorate: Any = rule
        return decorate(**drawn)(step)

    return type("Steps", (Machine,), {name: as_rule(name) for name in JobModel.STEPS})
