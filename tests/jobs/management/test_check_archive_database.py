"""check_archive --against-database: what it compares with the rows, and what it repairs from there."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archive.storage.store import ArchiveStore
from jobs.archiving import queue
from jobs.archiving.worker import ArchiveWorker
from jobs.deletion.services import delete_jobs
from jobs.messages import TagName
from jobs.models import ArchiveTask, Job, Tag
from jobs.states import MonitoringStatus
from jobs.tags.services import tag_jobs
from tests.support.archived_jobs import archived, edit, folder_of, found
from tests.support.checked_jobs import settle
from tests.support.commands import Run

pytestmark = pytest.mark.usefixtures("cluster", "synthetic")


def test_a_folder_without_a_row_is_a_warning(run: Run, job: Job, archive_root: Path) -> None:
    archived()
    delete_jobs(row_ids=[job.pk])
    outcome = run("check_archive", "--against-database", "--repair")
    assert (outcome.status, found(outcome)) == (0, ["row-missing"])
    assert folder_of(job, archive_root).exists()


def test_a_row_without_a_folder_is_an_error(run: Run, job: Job, archive_root: Path) -> None:
    archived()
    lose_folder(folder_of(job, archive_root))
    outcome = run("check_archive", "--against-database")
    assert (outcome.status, found(outcome)) == (1, ["folder-missing"])
    job.refresh_from_db()
    assert job.is_archived


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"jobState": "failed"}, 'jobState "failed"; expected "completed"'),
        ({"tags": [{"type": "a", "name": "b"}]}, 'tags [["a","b"]]; expected [["class",'),
        ({"metaData": {"jobName": "x"}}, 'metaData {"jobName":"x"}; expected {"jobName":"a job"}'),
    ],
)
def test_what_row_and_meta_json_disagree_about_is_written_from_the_row(
    run: Run, job: Job, archive_root: Path, values: dict[str, Any], message: str
) -> None:
    path = folder_of(job, archive_root) / "meta.json"
    before = path.read_bytes()
    edit(path, **values)
    outcome = run("check_archive", "--against-database")
    assert (outcome.status, found(outcome)) == (1, ["row-differs"])
    assert message in outcome.out
    assert run("check_archive", "--against-database", "--repair").status == 0
    assert path.read_bytes() == before
    assert not ArchiveTask.objects.exists()
    assert run("check_archive", "--against-database").lines == ["1 job checked, 0 errors, 0 warnings."]


def test_statistics_that_differ_are_left_since_nobody_knows_who_is_right(
    run: Run, job: Job, archive_root: Path
) -> None:
    path = folder_of(job, archive_root) / "meta.json"
    edit(path, statistics={}, jobState="failed")
    before = path.read_bytes()
    outcome = run("check_archive", "--against-database", "--repair")
    assert outcome.status == 1
    assert "row-differs" in found(outcome)
    assert path.read_bytes() == before


def test_an_edit_that_waits_to_be_written_is_no_error(run: Run, job: Job) -> None:
    tag_jobs(row_ids=[job.pk], tags=[TagName(type="a", name="b")])
    assert ArchiveTask.objects.filter(pk=job.pk).exists()
    assert run("check_archive", "--against-database").lines == ["1 job checked, 0 errors, 0 warnings."]


def test_an_edit_that_nobody_wrote_is_an_error(run: Run, job: Job) -> None:
    job.tag_links.all().delete()
    assert found(run("check_archive", "--against-database")) == ["row-differs"]
    assert Tag.objects.count() == 1


@pytest.mark.parametrize("content", [None, b"{", b"{}"])
def test_a_lost_meta_json_is_written_from_the_row(
    run: Run, job: Job, archive_root: Path, content: bytes | None
) -> None:
    archived()
    folder = folder_of(job, archive_root)
    files = {path: path.read_bytes() for path in folder.iterdir()}
    (folder / "meta.json").unlink()
    if content is not None:
        (folder / "meta.json").write_bytes(content)
    settle(folder)
    assert run("check_archive", "--repair").status == 1
    outcome = run("check_archive", "--against-database", "--repair")
    assert outcome.status == 0
    assert "[repaired: meta.json written from the database]" in outcome.out
    assert {path: path.read_bytes() for path in folder.iterdir()} == files


def lose_folder(folder: Path) -> None:
    """Remove all files of a job."""
    shutil.rmtree(folder.parent)


def lose_data(folder: Path) -> None:
    """Remove the samples."""
    (folder / "data.json.gz").unlink()


def cut_data(folder: Path) -> None:
    """Cut the samples."""
    os.truncate(folder / "data.json.gz", 50)


@pytest.mark.parametrize("lose", [lose_folder, lose_data, cut_data])
def test_lost_samples_are_archived_again_where_the_source_still_has_them(
    run: Run, job: Job, archive_root: Path, lose: Callable[[Path], None]
) -> None:
    archived()
    folder = folder_of(job, archive_root)
    files = {path: path.read_bytes() for path in folder.iterdir()}
    lose(folder)
    outcome = run("check_archive", "--against-database", "--repair")
    assert outcome.status == 0
    assert "waits for the archive again" in outcome.out
    assert Job.objects.awaiting_archive().get() == job
    assert ArchiveWorker().drain().archived == 1
    assert {path: path.read_bytes() for path in folder.iterdir()} == files
    before, job.monitoring_status = job.statistics, MonitoringStatus.ARCHIVED
    job.refresh_from_db()
    assert job.statistics == before
    assert run("check_archive", "--against-database").status == 0


def test_a_damaged_file_that_is_not_read_is_no_reason_to_write_the_job_again(
    run: Run, job: Job, archive_root: Path
) -> None:
    (folder_of(job, archive_root) / "data.json").write_bytes(b'{"other":')
    assert run("check_archive", "--against-database", "--repair").status == 1
    job.refresh_from_db()
    assert job.is_archived


def test_a_cluster_whose_folder_is_away_is_not_written_again(run: Run, job: Job, archive_root: Path) -> None:
    archived(cluster="other", sub_cluster="")
    shutil.rmtree(archive_root / "testcluster")
    assert run("check_archive", "--against-database", "--repair").status == 1
    job.refresh_from_db()
    assert job.is_archived


@pytest.mark.parametrize("lose", [lose_folder, lose_data, cut_data])
@pytest.mark.parametrize("source", ["none", "other samples"])
def test_lost_samples_that_the_source_no_longer_has_are_left_and_so_is_the_row(
    run: Run, job: Job, archive_root: Path, settings: Any, lose: Callable[[Path], None], source: str
) -> None:
    archived()
    lose(folder_of(job, archive_root))
    if source == "none":
        settings.METRIC_SOURCES = {"*": {"kind": "none"}}
    else:
        statistics = {"cpu_load": {"unit": {"base": ""}, "avg": 1000.0, "min": 1000.0, "max": 1000.0}}
        Job.objects.filter(pk=job.pk).update(statistics=json.dumps(statistics))
        job.refresh_from_db()
    row = Job.objects.filter(pk=job.pk).values().get()
    for _ in range(2):
        assert run("check_archive", "--against-database", "--repair").status == 1
        assert Job.objects.filter(pk=job.pk).values().get() == row


def test_a_job_that_never_had_samples_gets_its_folder_back(
    run: Run, archive_root: Path, settings: Any, db: None
) -> None:
    settings.METRIC_SOURCES = {"*": {"kind": "none"}}
    job, _ = archived(), archived()
    before = ArchiveStore(archive_root).read_meta(job.key)
    shutil.rmtree(folder_of(job, archive_root))
    assert run("check_archive", "--against-database", "--repair").status == 0
    assert ArchiveStore(archive_root).read_meta(job.key) == before


def test_a_job_that_the_database_knows_is_not_moved_away(run: Run, job: Job, archive_root: Path) -> None:
    folder = folder_of(job, archive_root)
    edit(folder / "meta.json", jobId=7)
    assert run("check_archive", "--against-database", "--repair").status == 1
    assert folder.exists()
    outcome = run("check_archive", "--repair")
    assert outcome.status == 0
    assert f"[repaired: moved to testcluster/0/007/{job.start_time}]" in outcome.out


def test_a_job_that_another_worker_holds_is_left_to_it(run: Run, job: Job, archive_root: Path) -> None:
    archived()
    lose_folder(folder_of(job, archive_root))
    queue.record_edit([job.pk])
    assert [claim.row_id for claim in queue.claim_edited("another", 1)] == [job.pk]
    assert run("check_archive", "--against-database", "--repair").status == 1
    job.refresh_from_db()
    assert job.is_archived


def test_what_cannot_be_repaired_is_said_with_its_reason(run: Run, job: Job, archive_root: Path) -> None:
    folder = folder_of(job, archive_root)
    edit(folder / "meta.json", cluster="other")
    (archive_root / "other").write_text("a file in the way")
    outcome = run("check_archive", "--repair")
    assert outcome.status == 1
    assert "(not repaired: " in outcome.out
    assert folder.exists()
