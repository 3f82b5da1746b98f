"""One bad file among good ones: each command names it with the reason, counts it, does the rest, and ends with 1."""

import json
from pathlib import Path
from typing import Any

import pytest

from archive.format.layout import JobKey
from archive.storage.store import ArchiveStore
from jobs.models import Job
from tests.support.clients import AppClient
from tests.support.commands import Run
from tests.support.factories import JobFactory
from tests.support.foreign_archive import DATA, DEEP, META, START, put_job

DEEP_META = json.dumps({"jobId": 3} | META).encode().replace(b'"n01"', DEEP)
BAD_META = {
    "nested too deeply": DEEP_META,
    "meta.json: ": b"",
    "invalid start byte": json.dumps({"jobId": 3} | META).encode().replace(b"u1", b"\xff"),
    "jobId is 1e400": json.dumps({"jobId": 3} | META).encode().replace(b'"jobId": 3', b'"jobId": 1e400'),
    "statistics is": json.dumps({"jobId": 3} | META | {"statistics": {"cpu_load": {"avg": "high"}}}).encode(),
}


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Return the root of another archive, with version.txt and a good job, the last one."""
    root = tmp_path / "theirs"
    put_job(root, 9)
    (root / "version.txt").write_text("1\n")
    return root


@pytest.mark.usefixtures("db")
def test_an_import_names_each_bad_file_and_goes_on(run: Run, theirs: Path, archive_root: Path) -> None:
    folders = {
        number: put_job(theirs, number, {"meta.json": content})
        for number, content in enumerate(BAD_META.values(), start=1)
    }
    deep = put_job(theirs, 8, {"data.json": b'{"cpu_load": {"node": %b}}' % DEEP})
    for _ in range(2):
        outcome = run("import_jobs", theirs)
        assert outcome.status == 1
        assert f"refused: {deep}/meta.json: data.json: nested too deeply" in outcome.err
        for folder, reason in zip(folders.values(), BAD_META, strict=True):
            assert any(f"{folder}/meta.json" in line and reason in line for line in outcome.err.splitlines())
        assert outcome.lines[-1].endswith(" 6 refused.")
        assert [job.job_id for job in Job.objects.all()] == [9]
        assert list(ArchiveStore(archive_root).iter_jobs()) == [JobKey("c1", 9, START)]


def test_a_rebuild_and_a_retention_leave_the_bad_folder_alone(run: Run, archive_root: Path) -> None:
    for number, content in enumerate(BAD_META.values(), start=1):
        put_job(archive_root, number, {"meta.json": content})
    put_job(archive_root, 9)
    outcome = run("rebuild_jobs")
    assert (outcome.status, [job.job_id for job in Job.objects.all()]) == (1, [9])
    assert [reason for reason in BAD_META if reason not in outcome.err] == []
    for dry_run in ("--dry-run", "--yes"):
        outcome = run("retain_archive", "--older-than", 1, "--do", "delete", dry_run)
        assert outcome.status == 1
        assert [reason for reason in BAD_META if reason not in outcome.err] == []
        assert outcome.err.count("left: ") == len(BAD_META)
    assert list(ArchiveStore(archive_root).iter_jobs()) == [
        JobKey("c1", number, START) for number in range(1, len(BAD_META) + 1)
    ]


def test_a_compression_leaves_the_bad_folder_alone(run: Run, archive_root: Path) -> None:
    put_job(archive_root, 1, {"meta.json": DEEP_META})
    put_job(archive_root, 2, {"data.json": DEEP, "data.json.gz": b"no gzip"})
    put_job(archive_root, 9)
    outcome = run("compress_archive", "--older-than", 1)
    assert outcome.status == 1
    assert "nested too deeply" in outcome.err
    assert "both are left" in outcome.err
    assert "1 file compressed" in outcome.out


def test_the_server_says_why_samples_cannot_be_loaded(api: AppClient, archive_root: Path) -> None:
    put_job(archive_root, 1, {"data.json": b'{"cpu_load": {"node": %b}}' % DEEP})
    job = JobFactory.create(job_id=1, cluster="c1", start_time=START, finished=True, monitoring_status=3)
    answer = api.get(f"/api/jobs/{job.pk}")
    assert answer.status == 500
    assert "nested too deeply" in answer.error


OTHER_DATA: dict[str, tuple[bytes, bool]] = {
    "an empty metric": (b'{"cpu_load":{"node":{}}}', False),
    "null for all series": (DATA.replace(b'"series": [', b'"series": null, "x": ['), False),
    "no seconds between samples": (DATA.replace(b"60", b"0"), False),
    "a number beyond all doubles": (DATA.replace(b"[1, 2, 3]", b"[1e400, 2, 3]"), False),
    "null in a unit": (DATA.replace(b'"base": ""', b'"base": null'), True),
    "keys in another case": (DATA.replace(b'"timestep"', b'"TimeStep"'), True),
}


@pytest.mark.usefixtures("db")
def test_an_import_takes_what_the_check_calls_right_and_nothing_else(run: Run, theirs: Path, settings: Any) -> None:
    folders = [
        put_job(theirs, number, {"data.json": content})
        for number, (content, _) in enumerate(OTHER_DATA.values(), start=1)
    ]
    outcome = run("import_jobs", theirs)
    assert outcome.status == 1
    right = [is_right for _, is_right in OTHER_DATA.values()]
    assert [str(folder) not in outcome.err for folder in folders] == right
    assert sorted(job.job_id for job in Job.objects.all()) == [5, 6, 9]
    assert run("check_archive").status == 0
    settings.ARCHIVE_ROOT = theirs
    there = json.loads(run("check_archive", "--json").out)
    named = {finding["path"] for finding in there["findings"] if finding["severity"] == "error"}
    assert [str((folder / "data.json").relative_to(theirs)) not in named for folder in folders] == right
    for finding in there["findings"]:
        if finding["severity"] == "error":
            assert finding["message"] in outcome.err
