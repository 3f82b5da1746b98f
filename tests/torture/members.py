"""Eight processes that take random steps side by side: `python -m tests.torture.crowd` starts this in a server's place.

Each is at once an application that answers calls, a worker that archives whatever waits, and an operator. It compares
the jobs of a cluster of its own with a model after each step. In between all of them do the same to one job at the same
moment, and all but one have to be refused. The result is written to stdout as JSON.
"""

import argparse
import importlib
import json
import logging
import multiprocessing
import os
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from dataclasses import asdict, dataclass, field
from multiprocessing.context import ForkContext
from pathlib import Path
from random import Random
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ccbackend.settings")
django.setup()

from django.conf import settings  # noqa: E402  what follows needs the settings
from django.db import connections  # noqa: E402

from accounts.models import User  # noqa: E402
from jobs import curation  # noqa: E402
from jobs.archiving.worker import ArchiveWorker  # noqa: E402
from jobs.exceptions import EditConflictError  # noqa: E402
from jobs.history import Actor  # noqa: E402
from jobs.models import Job, Tag  # noqa: E402
from tests.support.api_schema import description  # noqa: E402
from tests.support.clients import AppClient  # noqa: E402
from tests.support.fake_metric_store import CLUSTER_JSON  # noqa: E402
from tests.support.job_model import JobModel  # noqa: E402

MEMBERS = 8
SHARED = "shared"
_BEGIN = 1_700_000_000
_SHARED_BEGIN = _BEGIN + 100_000
_APART = 1000  # seconds between the jobs of two members, and between two rounds
_STEPS = 10  # of each member between two rounds
_DELETED = 3  # in one of so many rounds the job is deleted
_LOST = 300.0  # seconds at the barrier, after which a member must have died


@dataclass
class Round:
    """What a member got when all of them did the same to one job: status codes, and whether its correction was made."""

    start: int
    stop: int
    tag: int
    corrected: bool
    delete: int | None = None


@dataclass
class Account:
    """What a member did and saw."""

    steps: list[str] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    wrong: str = ""


class Meeting:
    """Where the members wait for each other; the last to come decides for all whether it is over."""

    def __init__(self, context: ForkContext, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._over = context.Value("b", 0)
        self._barrier = context.Barrier(MEMBERS, self._decide, _LOST)

    def _decide(self) -> None:
        self._over.value = time.monotonic() > self._deadline

    def is_over(self) -> bool:
        """Wait for all others, and return whether this is the end."""
        self._barrier.wait()
        return bool(self._over.value)

    def break_off(self) -> None:
        """Let nobody wait any longer."""
        self._barrier.abort()


def take_part(number: int, meeting: Meeting, seed: int, client: AppClient, account_file: Path) -> None:
    """Take random steps until the meeting is over, and write the account of it."""
    account = Account()
    random = Random(f"{seed} {number}")
    model = JobModel(
        client=client,
        actor=Actor(User.objects.get(username="admin").pk),
        root=Path(settings.ARCHIVE_ROOT),
        cluster=f"crowd{number}",
        begin=_BEGIN + number * _APART,
        alone=False,
        first=number == 0,
    )
    try:
        while not meeting.is_over():
            account.rounds.append(race(len(account.rounds), number, model, meeting))
            for _ in range(_STEPS):
                account.steps.append(model.take_random_step(random))
                model.check()
    except threading.BrokenBarrierError:
        account.wrong = f"member {number}: another one failed or died"
    except Exception:
        meeting.break_off()
        account.wrong = f"member {number}: {traceback.format_exc()}last steps: {account.steps[-30:]}"
    account_file.write_text(json.dumps(asdict(account)))


def race(index: int, number: int, model: JobModel, meeting: Meeting) -> Round:
    """Start, stop, tag and correct the same job as all others, each in its own way; in some rounds delete it."""
    client, begin = model.client, _SHARED_BEGIN + index * _APART
    keys: dict[str, Any] = {"jobId": index + 1, "cluster": SHARED, "startTime": begin}
    start = client.start(**keys).status
    stop = client.stop(**keys, stopTime=begin + number + 1, jobState="completed").status
    row_id = Job.objects.get(cluster=SHARED, job_id=index + 1).pk
    tag = client.post(f"/api/jobs/tag_job/{row_id}", [{"type": "round", "name": str(index)}]).status
    edit = curation.Edit("project", curation.fingerprint("bio"), f"project{number}")
    try:
        corrected = bool(curation.correct_job(row_id=row_id, edits=[edit], note="a race", actor=model.actor))
    except EditConflictError:
        corrected = False
    meeting.is_over()
    done = Round(start, stop, tag, corrected)
    if index % _DELETED == 0:
        done.delete = client.delete(f"/api/jobs/delete_job/{row_id}").status
    return done


def faults_of_round(index: int, rounds: list[Round]) -> list[str]:
    """Return what is wrong with a round: who won, and what is stored."""
    faults = []
    for name, won, lost in (("start", 201, 422), ("stop", 200, 422), ("tag", 200, 200), ("delete", 200, 422)):
        statuses = [getattr(one, name) for one in rounds]
        expected = [won] + [lost] * (MEMBERS - 1) if name != "delete" or index % _DELETED == 0 else [None] * MEMBERS
        if Counter(statuses) != Counter(expected):
            faults.append(f"round {index}: {name} answered {statuses}")
    corrected = [number for number, one in enumerate(rounds) if one.corrected]
    stopped = [number for number, one in enumerate(rounds) if one.stop == 200]
    wanted = [] if index % _DELETED == 0 else [(stopped[0] + 1, f"project{corrected[0]}", 1)]
    jobs = Job.objects.filter(cluster=SHARED, job_id=index + 1).prefetch_related("tags")
    stored = [(job.duration, job.project, job.tags.count()) for job in jobs]
    if len(corrected) != 1 or stored != wanted:
        faults.append(f"round {index}: corrected by {corrected}, stored {stored}, expected {wanted}")
    return faults


def result_of(accounts: list[Account]) -> dict[str, Any]:
    """Return the sums over all members, and all that is wrong."""
    wrong = [account.wrong for account in accounts if account.wrong]
    rounds = list(zip(*[account.rounds for account in accounts], strict=False))
    if not wrong:
        wrong += [fault for index, one in enumerate(rounds) for fault in faults_of_round(index, list(one))]
        if Tag.objects.filter(type="round").count() != len(rounds):
            wrong.append("a tag that all created at once is missing or doubled")
        if ArchiveWorker().drain().failed or Job.objects.awaiting_archive().exists():
            wrong.append("not everything could be archived")
    steps = Counter(step for account in accounts for step in account.steps)
    sums = {"processes": len(accounts), "random steps": steps.total()}
    sums |= {f"of these: {name.replace('_', ' ')}": steps[name] for name in JobModel.STEPS}
    return {"sums": sums | {"rounds in which all did the same to one job": len(rounds)}, "wrong": wrong}


def make_clusters(root: Path) -> None:
    """Make an archive with a cluster for each member and one for all."""
    for name in (SHARED, *(f"crowd{number}" for number in range(MEMBERS))):
        (root / name).mkdir(parents=True)
        (root / name / "cluster.json").write_text(json.dumps(CLUSTER_JSON | {"name": name}))
    (root / "version.txt").write_text("1\n")


def main() -> None:
    """Fork the members, wait for them, and print the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--token", required=True)
    options = parser.parse_args()
    make_clusters(Path(settings.ARCHIVE_ROOT))
    client = AppClient(importlib.import_module("ccbackend.wsgi").application, options.token)
    description()  # made once for all
    logging.disable(logging.WARNING)  # each refused call is one
    connections.close_all()
    assert threading.active_count() == 1, "a fork beside threads"
    context = multiprocessing.get_context("fork")
    meeting = Meeting(context, options.seconds)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, str(number)) for number in range(MEMBERS)]
        members = [
            context.Process(target=take_part, args=(number, meeting, options.seed, client, file))
            for number, file in enumerate(files)
        ]
        for member in members:
            member.start()
        for member in members:
            member.join()
        accounts = [_read(file) for file in files]
    json.dump(result_of(accounts), sys.stdout)


def _read(file: Path) -> Account:
    if not file.exists():
        return Account(wrong=f"member {file.name} died")
    account = json.loads(file.read_text())
    return Account(account["steps"], [Round(**one) for one in account["rounds"]], account["wrong"])


if __name__ == "__main__":
    main()
