"""compress_archive: what it says and does, and what a kill leaves."""

import gzip
import json
import random
import signal
import subprocess
import time
from pathlib import Path

from archive.format.layout import JobKey, job_folder
from archive.storage.store import ArchiveStore
from tests.support.commands import Machine, Run
from tests.support.waiting import patience

DATA = b'{"cpu_load": {"node": [1.0, null]}}'
START = 1_700_000_000


def put(root: Path, job_id: int = 1, plain: bytes = DATA, *, cluster: str = "fritz", start: int = START) -> Path:
    """Write a job with a data.json; return that file."""
    key = JobKey(cluster, job_id, start)
    meta = {"jobId": job_id, "cluster": cluster, "startTime": start, "duration": 600}
    store = ArchiveStore(root)
    store.prepare()
    store.write_meta(key, json.dumps(meta).encode())
    path = job_folder(root, key) / "data.json"
    path.write_bytes(plain)
    return path


def test_it_says_how_many_files_and_bytes(run: Run, archive_root: Path) -> None:
    paths = [put(archive_root, number, b"[" + b"1," * 999 + b"1]") for number in (1, 2)]
    outcome = run("compress_archive", "--dry-run")
    assert outcome.lines == ["Dry run: 2 files (4.00kB) would be compressed."]
    assert all(path.exists() for path in paths)
    outcome = run("compress_archive")
    after = sum(path.with_name("data.json.gz").stat().st_size for path in paths)
    assert outcome.lines == [f"2 files compressed: 4.00kB before, {after}.0B after."]
    assert not any(path.exists() for path in paths)
    assert run("compress_archive").lines == ["0 files compressed."]


def test_options_choose(run: Run, archive_root: Path) -> None:
    old, other = put(archive_root), put(archive_root, cluster="alex")
    young = put(archive_root, 2, start=int(time.time()) - 86400)
    assert run("compress_archive", "--older-than", "1", "--cluster", "fritz").status == 0
    assert [path.exists() for path in (old, other, young)] == [False, True, True]
    assert run("compress_archive", "--older-than", "0", "-v0").out == ""
    assert [path.exists() for path in (old, other, young)] == [False, False, False]


def test_what_cannot_be_compressed_is_named_and_a_failure(run: Run, archive_root: Path) -> None:
    path = put(archive_root)
    path.with_name("data.json.gz").write_bytes(gzip.compress(b"{}"))
    fine = put(archive_root, 2)
    outcome = run("compress_archive")
    assert outcome.status == 1
    assert f"left: {path.parent}: " in outcome.err
    assert "1 job could not be done" in outcome.err
    assert path.exists()
    assert not fine.exists()


def test_an_archive_of_another_version_is_refused(run: Run, archive_root: Path) -> None:
    path = put(archive_root)
    (archive_root / "version.txt").write_text("7")
    assert run("compress_archive").status == 1
    assert path.exists()


def test_bad_usage(typed: Run) -> None:
    outcome = typed("compress_archive", "--older-than", "-1")
    assert outcome.status == 2
    assert "--older-than: '-1': expected a whole number" in outcome.err


def begin(machine: Machine) -> "subprocess.Popen[str]":
    """Run the command beside the test until it has compressed something."""
    root = machine.folder / "archive"
    done = len(list(root.rglob("data.json.gz")))
    process = subprocess.Popen(
        machine.arguments("compress_archive"),
        env=machine.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and len(list(root.rglob("data.json.gz"))) == done:
        time.sleep(0.02)
    return process


def test_a_kill_at_any_instant_leaves_a_whole_copy_and_the_next_run_goes_on(machine: Machine) -> None:
    root, chance = machine.folder / "archive", random.Random(7)
    paths = {put(root, number, chance.randbytes(100_000)): number for number in range(1, 201)}
    contents = {path: path.read_bytes() for path in paths}
    killed = 0
    for _ in range(4):
        process = begin(machine)
        time.sleep(chance.random() * 0.1)
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        for path in paths:
            compressed = path.with_name("data.json.gz")
            if compressed.exists():
                assert gzip.decompress(compressed.read_bytes()) == contents[path]
            else:
                assert path.read_bytes() == contents[path]
    assert killed >= 2
    assert machine.run("compress_archive").status == 0
    assert {file.name for file in root.rglob("*") if file.is_file()} == {"version.txt", "meta.json", "data.json.gz"}


def test_a_signal_ends_it_with_its_counts(machine: Machine) -> None:
    chance = random.Random(7)
    paths = [put(machine.folder / "archive", number, chance.randbytes(500_000)) for number in range(1, 301)]
    process = begin(machine)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=patience(20))
    assert process.returncode == 130
    left = sum(path.exists() for path in paths)
    assert left
    assert f"Interrupted. {len(paths) - left} files compressed" in err
