"""replay_refused: calls that a client kept are carried out once, and what is refused is named."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from jobs.history import of_job, text_of
from jobs.models import Job, RefusedCall
from tests.support.clients import AppClient, start_body
from tests.support.commands import Run
from tests.support.factories import START, JobFactory

pytestmark = pytest.mark.usefixtures("cluster")


def spool(path: Path, *events: Any) -> Path:
    """Write a spool file, packed if its name says so."""
    content = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def start(job_id: int, **changes: Any) -> dict[str, Any]:
    """Return the event of a start."""
    return {"operation": "start_job", "body": start_body(jobId=job_id, **changes)}


def stop(job_id: int) -> dict[str, Any]:
    """Return the event of a stop."""
    return {"operation": "stop_job", "body": {"jobId": job_id, "stopTime": START + 60, "jobState": "completed"}}


def test_files_are_replayed_in_order_and_again_without_effect(run: Run, tmp_path: Path) -> None:
    files = [spool(tmp_path / "1.json.gz", start(1), start(2)), spool(tmp_path / "2.json", stop(1))]

    outcome = run("replay_refused", *files)

    assert (outcome.status, outcome.lines) == (0, ["3 calls: 3 carried out, 0 known already, 0 refused."])
    assert set(Job.objects.values_list("job_id", "job_state")) == {(1, "completed"), (2, "running")}
    again = run("replay_refused", *files)
    assert (again.status, again.lines) == (0, ["3 calls: 0 carried out, 3 known already, 0 refused."])
    assert Job.objects.count() == 2


def test_what_is_refused_is_named_and_the_rest_is_carried_out(run: Run, tmp_path: Path) -> None:
    wrong = [start(1, subCluster="", resources=[{"hostname": "x99"}]), "no call", stop(77)]
    file = spool(tmp_path / "spool", *wrong, start(2))

    outcome = run("replay_refused", file)

    assert (outcome.status, outcome.lines) == (1, ["4 calls: 1 carried out, 0 known already, 3 refused."])
    lines = outcome.err.splitlines()
    assert lines[0].startswith(f"{file} line 1: start_job: no subcluster found for cluster testcluster")
    assert lines[1].startswith(f"{file} line 2: expected {{")
    assert lines[2].startswith(f"{file} line 3: stop_job: finding job failed: no job with jobId 77")
    assert Job.objects.get().job_id == 2


def test_tags_are_in_the_history_under_the_shell_s_user(run: Run, tmp_path: Path) -> None:
    job = JobFactory.create()
    event = {"operation": "tag_job", "id": job.pk, "body": [{"type": "perf", "name": "bad"}]}
    assert run("replay_refused", spool(tmp_path / "spool", event)).status == 0
    assert "the shell of" in text_of(of_job(job.pk).get())


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file or directory"), (b"\x1f\x8bno gzip", "not gzip"), (b"", "")]
)
def test_a_file_that_cannot_be_read_is_named(run: Run, tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "spool"
    if content is not None:
        file.write_bytes(content)
    outcome = run("replay_refused", file)
    assert outcome.status == (2 if reason else 0)
    assert reason in outcome.err


@pytest.fixture
def refused(api: AppClient) -> list[RefusedCall]:
    """Return two starts and a stop that were refused; the cause of the second start is mended."""
    for job_id in (1, 2):
        api.start(jobId=job_id, numNodes=2)
    api.stop(jobId=2, stopTime=START + 60, jobState="completed")
    calls = list(RefusedCall.objects.order_by("pk"))
    RefusedCall.objects.filter(pk=calls[1].pk).update(body=json.dumps(start_body(jobId=2)))
    return calls


def test_kept_calls_are_replayed_the_oldest_first(run: Run, refused: list[RefusedCall]) -> None:
    outcome = run("replay_refused", "--kept")
    assert (outcome.status, outcome.lines) == (1, ["3 calls: 2 carried out, 0 known already, 1 refused."])
    assert f"call {refused[0].pk}: start_job of bench: len(resources) does not equal" in outcome.err
    assert set(Job.objects.values_list("job_id", "job_state")) == {(2, "completed")}
    assert list(RefusedCall.objects.open()) == refused[:1]
    assert "the shell of" in RefusedCall.objects.get(pk=refused[1].pk).handled_by
    assert run("replay_refused", "--kept").lines == ["1 call: 0 carried out, 0 known already, 1 refused."]


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        (["--reason", "NumNodes"], [0, 1]),
        (["--operation", "stop_job"], [2]),
        (["--token", "ccb_"], [0, 1, 2]),
        (["--token", "elsewhere"], []),
        (["--since", START], [0, 1, 2]),
        (["--since", "2999-01-01"], []),
    ],
)
def test_options_select_kept_calls(run: Run, refused: list[RefusedCall], options: list[Any], chosen: list[int]) -> None:
    assert run("replay_refused", "--kept", "--dry-run", *options).lines[-1].startswith(f"{len(chosen)} call")
    run("replay_refused", "--kept", *options)
    handled = RefusedCall.objects.exclude(handled_by="").order_by("pk")
    assert list(handled) == [refused[place] for place in chosen]


def test_a_dry_run_prints_the_reasons_and_replays_nothing(run: Run, refused: list[RefusedCall]) -> None:
    outcome = run("replay_refused", "--kept", "--dry-run")
    assert outcome.status == 0
    assert [" ".join(line.split()[:4]) for line in outcome.lines] == [
        "2 start_job of bench",
        "1 stop_job of bench",
        "3 calls would be",
    ]
    assert RefusedCall.objects.open().count() == 3


def test_a_dry_run_prints_the_numbers_as_json(run: Run, refused: list[RefusedCall]) -> None:
    told = json.loads(run("replay_refused", "--kept", "--dry-run", "--json").out)
    assert [(group["count"], group["operation"], group["user"]) for group in told["groups"]] == [
        (2, "start_job", "bench"),
        (1, "stop_job", "bench"),
    ]
    assert told["total"] == 3
    assert {group["since"] for group in told["groups"]} <= {call.received_at for call in refused}
    assert all(group["reason"] for group in told["groups"])
    assert run("replay_refused", "--kept", "--json").status == 2


@pytest.mark.parametrize("arguments", [[], ["--kept", "file"], ["--dry-run", "file"], ["--reason", "x", "file"]])
def test_files_and_kept_calls_are_not_mixed(run: Run, arguments: list[str]) -> None:
    assert run("replay_refused", *arguments).status == 2
