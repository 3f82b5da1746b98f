"""check_archive: what it says, how it ends, what it compares with the database, and what it repairs from there."""

import contextlib
import json
import os
import pty
import shutil
import signal
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from archive.format.layout import job_folder
from archive.storage.store import ArchiveStore
from jobs.archiving import queue
from jobs.archiving.worker import ArchiveWorker
from jobs.deletion.services import delete_jobs
from jobs.messages import TagName
from jobs.models import ArchiveTask, Job, Tag
from jobs.states import MonitoringStatus
from jobs.tags.services import tag_jobs
from tests.support.commands import Machine, Outcome, Run
from tests.support.factories import JobFactory, TagFactory
from tests.support.waiting import patience

pytestmark = pytest.mark.usefixtures("cluster", "synthetic")


@pytest.fixture
def job(db: None) -> Job:
    """Return an archived job with samples and a tag."""
    return archived()


def archived(**values: Any) -> Job:
    """Archive a job, as the worker does."""
    job = JobFactory.create(finished=True, tags=[TagFactory.create()], **values)
    ArchiveWorker().drain()
    job.refresh_from_db()
    assert job.is_archived
    return job


def folder_of(job: Job, archive_root: Path) -> Path:
    """Return the folder of a job."""
    return job_folder(archive_root, job.key)


def settle(folder: Path) -> None:
    """Let a folder look as if nobody had touched it for a while."""
    os.utime(folder, (1, 1))


def edit(path: Path, **values: Any) -> None:
    """Change keys of a meta.json."""
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | values))


def found(outcome: Outcome) -> list[str]:
    """Return the kinds of findings in the lines on stdout."""
    return [line.split()[1] for line in outcome.lines[:-1]]


def test_an_intact_archive(run: Run, job: Job) -> None:
    for options in ((), ("--against-database",), ("--against-database", "--repair")):
        outcome = run("check_archive", *options)
        assert (outcome.status, outcome.err) == (0, "")
        ending = ", 0 repaired." if "--repair" in options else "."
        assert outcome.lines == [f"1 job checked, 0 errors, 0 warnings{ending}"]


def test_each_finding_is_a_line_and_errors_are_exit_status_1(run: Run, job: Job, archive_root: Path) -> None:
    (archive_root / "notes.txt").write_text("x")
    (archive_root / "testcluster/7").mkdir()
    settle(archive_root / "testcluster/7")
    outcome = run("check_archive")
    assert outcome.status == 1
    assert outcome.lines == [
        "error stray notes.txt: a file that does not belong there",
        "warning empty-folder testcluster/7: the folder is empty",
        "1 job checked, 1 error, 1 warning.",
    ]
    quiet = run("check_archive", verbosity=0)
    assert (quiet.status, quiet.lines) == (1, outcome.lines[:1])


def test_warnings_alone_are_exit_status_0(run: Run, job: Job, archive_root: Path) -> None:
    edit(folder_of(job, archive_root) / "meta.json", stopTime=5)
    outcome = run("check_archive")
    assert outcome.status == 0
    assert found(outcome) == ["stop-time"]


def test_what_a_terminal_would_obey_is_not_printed(run: Run, job: Job, archive_root: Path) -> None:
    (archive_root / "a\x1b[2Jb\n").write_text("x")
    assert "stray a?[2Jb?:" in run("check_archive").out


def test_json_is_one_document(run: Run, job: Job, archive_root: Path) -> None:
    assert json.loads(run("check_archive", "--json").out) == {
        "findings": [],
        "counts": {"jobs": 1, "errors": 0, "warnings": 0, "repaired": 0, "remaining": 0},
        "complete": True,
    }
    (archive_root / "notes\n.txt").write_text("x")
    (archive_root / "testcluster/7").mkdir()
    settle(archive_root / "testcluster/7")
    outcome = run("check_archive", "--json", "--repair", verbosity=0)
    assert outcome.status == 1
    assert json.loads(outcome.out) == {
        "findings": [
            {
                "severity": "error",
                "code": "stray",
                "path": "notes\n.txt",
                "message": "a file that does not belong there",
                "repaired": None,
            },
            {
                "severity": "warning",
                "code": "empty-folder",
                "path": "testcluster/7",
                "message": "the folder is empty",
                "repaired": "removed",
            },
        ],
        "counts": {"jobs": 1, "errors": 1, "warnings": 1, "repaired": 1, "remaining": 1},
        "complete": True,
    }


def test_names_that_are_not_utf8_are_escaped(run: Run, archive_root: Path, cluster: Path) -> None:
    for name in (b"b\xf6se", "日".encode()):
        (cluster.parent / os.fsdecode(name)).touch()
    outcome = run("check_archive", "--json")
    assert outcome.out.isascii()
    assert {finding["path"] for finding in json.loads(outcome.out)["findings"]} == {
        r"testcluster/b\xf6se",
        "testcluster/日",
    }
    assert r"testcluster/b\xf6se: " in run("check_archive").out


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_names_that_stdout_cannot_encode_are_escaped(machine: Machine, encoding: str) -> None:
    root = machine.folder / "archive"
    root.mkdir()
    for name in (b"b\xf6se", "böse\U0001f600".encode()):
        (root / os.fsdecode(name)).touch()
    ended = subprocess.run(
        machine.arguments("check_archive"),
        env=machine.environment | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, b"Traceback" in ended.stderr) == (1, False)
    assert rb"stray b\xf6se: " in ended.stdout
    assert "böse\U0001f600: ".encode(encoding, "backslashreplace") in ended.stdout


def test_bad_usage(run: Run, archive_root: Path) -> None:
    for name in ("nowhere", "../testcluster", ""):
        assert run("check_archive", "--cluster", name).status == 2
    assert "expected the archive" in run_without_root(run, archive_root).err


def run_without_root(run: Run, archive_root: Path) -> Outcome:
    """Check an archive that is not there, which is not made by that."""
    shutil.rmtree(archive_root)
    outcome = run("check_archive")
    assert outcome.status == 1
    assert not archive_root.exists()
    return outcome


def test_an_archive_that_is_not_mounted_is_not_compared_with(run: Run, job: Job, archive_root: Path) -> None:
    shutil.rmtree(archive_root / "testcluster")
    outcome = run("check_archive", "--against-database", "--repair")
    assert outcome.status == 1
    assert "is its file system mounted?" in outcome.err
    job.refresh_from_db()
    assert job.is_archived


def test_only_one_cluster(run: Run, job: Job, archive_root: Path) -> None:
    other = archived(cluster="other", sub_cluster="")
    shutil.rmtree(folder_of(other, archive_root))
    archived(cluster="other", sub_cluster="")
    assert run("check_archive", "--against-database", "--cluster", "testcluster").status == 0
    assert "folder-missing" in run("check_archive", "--against-database", "--cluster", "other").out


# Against the database


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


# Repair from the database


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


# As processes


def many_jobs(machine: Machine, count: int) -> Path:
    """Write small jobs into the archive of a machine."""
    root = machine.folder / "archive"
    for number in range(1, count + 1):
        folder = root / "fritz" / f"{number // 1000}" / f"{number % 1000:03d}" / "5"
        folder.mkdir(parents=True)
        (folder / "meta.json").write_text(f'{{"jobId":{number},"cluster":"fritz","startTime":5}}')
    return root


def test_ctrl_c_leaves_at_once_and_leaves_no_process(machine: Machine) -> None:
    root = many_jobs(machine, 3)
    (root / "notes.txt").write_text("found at once")
    # Such a folder could be one that somebody is about to fill: it is looked at for two seconds.
    (root / "fritz/0/001/6").mkdir()
    process = subprocess.Popen(
        machine.arguments("check_archive", "--json"),
        env=machine.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    begun = b""
    while b"notes.txt" not in begun:
        begun += os.read(process.stdout.fileno(), 65536)
    begin = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=patience(20))
    assert time.monotonic() - begin < patience(1)
    assert process.returncode == 130
    assert "Interrupted." in err
    assert "Traceback" not in err
    assert json.loads(begun.decode() + out)["complete"] is False
    while is_alive(process.pid) and time.monotonic() - begin < patience(5):  # Python's own helper ends after its parent
        time.sleep(0.05)
    assert not is_alive(process.pid)


def is_alive(group: int) -> bool:
    """Say whether any process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_terminal_sees_a_bar_with_rate_and_time_left(machine: Machine) -> None:
    many_jobs(machine, 300)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    process = subprocess.Popen(
        machine.arguments("check_archive"), env=machine.environment, stdout=subprocess.DEVNULL, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # which is how a terminal ends
        while True:
            shown += os.read(ours, 65536)
    os.close(ours)
    assert process.wait(timeout=patience(20)) == 0
    assert b"300/300" in shown
    assert b"folders/s" in shown


def test_without_a_terminal_and_without_a_database(machine: Machine) -> None:
    many_jobs(machine, 3)
    (machine.folder / "db.sqlite3").unlink()
    outcome = machine.run("check_archive")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.lines[-1] == "3 jobs checked, 0 errors, 1 warning."
