"""check_archive: what it says, and how it ends."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from jobs.models import Job
from tests.support.archived_jobs import archived, edit, folder_of, found
from tests.support.checked_jobs import settle
from tests.support.commands import Machine, Outcome, Run
from tests.support.waiting import patience

pytestmark = pytest.mark.usefixtures("cluster", "synthetic")


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
    outcome, shown = machine.run_on_terminal("check_archive")
    assert outcome.status == 0
    assert "300/300" in shown
    assert "folders/s" in shown


def test_without_a_terminal_and_without_a_database(machine: Machine) -> None:
    many_jobs(machine, 3)
    (machine.folder / "db.sqlite3").unlink()
    outcome = machine.run("check_archive")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.lines[-1] == "3 jobs checked, 0 errors, 1 warning."
