"""Writers that are killed, that run at once, and what they leave."""

import contextlib
import fcntl
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive.format.layout import JobKey, job_folder
from archive.storage import files
from archive.storage.store import ArchiveStore
from tests.support.on_disk import names, temp_files
from tests.support.paths import PROJECT

KEY = JobKey("fritz", 1034871, 1649723812)

WRITER = """
import itertools, sys
from pathlib import Path
from archive.format.layout import JobKey
from tests.support.on_disk import names, temp_files
from tests.support.paths import PROJECT
from archive.storage.store import ArchiveStore
store = ArchiveStore(Path(sys.argv[1]))
print("ready", flush=True)
for turn in itertools.count():
    text = b'"' + str(turn % 10).encode() * 300_000 + b'"'
    store.write_job(JobKey("fritz", 1 + turn % 3, 1000), text, text)
"""


@contextlib.contextmanager
def writer(root: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a process that writes jobs until it is killed."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_writer_killed_at_any_time_leaves_whole_files_and_at_most_a_temporary_one(store: ArchiveStore) -> None:
    for turn in range(8):
        with writer(store.root) as process:
            time.sleep(0.03 + 0.017 * turn)
            os.kill(process.pid, signal.SIGKILL)
        for path in store.root.rglob("*.json*"):
            if path.name in {"meta.json", "data.json.gz"}:
                content = path.read_bytes()
                text = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
                assert len(text) == 300_000
                assert len(set(text)) == 1
        for key in store.iter_jobs():
            assert store.data_files(key)


def test_what_a_killed_writer_left_goes_when_the_job_is_written_again(store: ArchiveStore) -> None:
    store.write_meta(KEY, b"{}")
    folder = job_folder(store.root, KEY)
    (folder / ".data.json.gz.99-abc.tmp").write_bytes(b"half")
    (folder / "notes.tmp").write_bytes(b"not ours")
    store.write_meta(KEY, b"{}")
    assert names(store, KEY) == ["meta.json", "notes.tmp"]


def test_temporary_names_start_with_a_dot_and_end_with_tmp(store: ArchiveStore) -> None:
    store.write_meta(KEY, b"{}")
    seen: list[str] = []
    with files.open_folder(job_folder(store.root, KEY)) as folder:
        folder.write("meta.json", lambda descriptor: seen.extend(names(store, KEY)))
    assert len(seen) == 2
    assert seen[0].startswith(".meta.json.")
    assert seen[0].endswith(".tmp")


def test_what_another_live_writer_is_writing_stays(store: ArchiveStore) -> None:
    store.write_meta(KEY, b"{}")
    with files.open_folder(job_folder(store.root, KEY)) as folder:

        def fill(descriptor: int) -> None:
            store.write_job(KEY, b'"other"', b'"other"')
            os.write(descriptor, b'"slow"')

        folder.write("meta.json", fill)
    assert store.read_meta(KEY) == b'"slow"'
    assert store.read_data(KEY) == b'"other"'


def test_a_temporary_file_taken_by_a_cleaner_before_it_was_locked_is_made_again(
    store: ArchiveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_meta(KEY, b"{}")
    folder = job_folder(store.root, KEY)
    flock = fcntl.flock
    taken: list[str] = []

    def flock_after_a_cleaner(descriptor: int, operation: int) -> None:
        if not taken:
            for path in temp_files(folder):
                taken.append(path.name)
                path.unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock_after_a_cleaner)
    store.write_meta(KEY, b'"new"')
    assert len(taken) == 1
    assert store.read_meta(KEY) == b'"new"'
    assert names(store, KEY) == ["meta.json"]


def test_a_file_system_without_locks_is_still_written(store: ArchiveStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    store.write_job(KEY, b"{}", b"{}")
    assert names(store, KEY) == ["data.json.gz", "meta.json"]
