"""Copies of jobs: whole, durable in the right order, and each on its own account."""

import gzip
import os
from pathlib import Path

import pytest

from archive.exceptions import DocumentError
from archive.format.layout import JobKey, job_folder
from archive.storage import copying
from archive.storage.copying import Flush, JobCopy, copy_jobs
from archive.storage.store import ArchiveStore, decompress

START = 1_700_000_000


def key(job_id: int) -> JobKey:
    """Return a job of the cluster fritz."""
    return JobKey("fritz", job_id, START)


def test_each_byte_is_kept_and_so_is_the_form(store: ArchiveStore, tmp_path: Path) -> None:
    sources = [tmp_path / "samples.gz", tmp_path / "samples.json"]
    for source in sources:
        source.write_bytes(os.urandom(3_000_000))
    jobs = [JobCopy(key(number), b"{%d}" % number, sources) for number in range(1, 20)]
    assert copy_jobs(store, [*jobs, JobCopy(key(20), b"{}", ())]) == [None] * 20
    for job in jobs:
        folder = job_folder(store.root, job.key)
        assert sorted(path.name for path in folder.iterdir()) == ["data.json", "data.json.gz", "meta.json"]
        assert (folder / "data.json.gz").read_bytes() == sources[0].read_bytes()
        assert (folder / "data.json").read_bytes() == sources[1].read_bytes()
        assert store.read_meta(job.key) == job.meta
    assert [path.name for path in job_folder(store.root, key(20)).iterdir()] == ["meta.json"]


def test_one_that_fails_does_not_hold_up_the_others(store: ArchiveStore, tmp_path: Path) -> None:
    source = tmp_path / "data.json"
    source.write_bytes(b"{}")
    (store.root / "fritz/0").mkdir(parents=True)
    (store.root / "fritz/0/002").write_text("in the way")
    done = copy_jobs(store, [JobCopy(key(number), b"{}", [source]) for number in (1, 2, 3)])
    assert [failure is None for failure in done] == [True, False, True]
    assert [job.job_id for job in store.iter_jobs()] == [1, 3]


def test_a_source_that_cannot_be_read_leaves_nothing_behind(store: ArchiveStore, tmp_path: Path) -> None:
    failures = copy_jobs(store, [JobCopy(key(1), b"{}", [tmp_path])])
    assert isinstance(failures[0], OSError)
    assert list(job_folder(store.root, key(1)).iterdir()) == []


def test_a_disk_that_does_not_flush_refuses_the_job_before_meta_json(
    store: ArchiveStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "data.json"
    source.write_bytes(b"{}")
    broken = OSError("No space left on device")
    monkeypatch.setattr(copying, "_flush", lambda what: broken)
    assert copy_jobs(store, [JobCopy(key(1), b"{}", [source])]) == [broken]
    assert list(job_folder(store.root, key(1)).iterdir()) == []


def test_data_is_durable_before_meta_json_appears_and_all_folders_are_flushed(
    store: ArchiveStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "data.json"
    source.write_bytes(b"{}")
    folder = job_folder(store.root, key(1))
    seen: list[tuple[str, list[str]]] = []
    flush = copying._flush

    def noted(what: Flush) -> Exception | None:
        path = Path(f"/proc/self/fd/{what}").readlink() if isinstance(what, int) else what
        shown = path.name.rsplit(".", 2)[0].removeprefix(".") if path.suffix == ".tmp" else path.name
        there = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
        seen.append((shown, there))
        return flush(what)

    monkeypatch.setattr(copying, "_flush", noted)
    assert copy_jobs(store, [JobCopy(key(1), b"{}", [source])]) == [None]
    assert seen[0] == ("data.json", [])
    assert sorted(seen[1:3]) == [(str(START), ["data.json"]), ("meta.json", ["data.json"])]
    whole = ["data.json", "meta.json"]
    above = [str(START), "001", "0", "fritz", store.root.name]
    assert sorted(seen[3:]) == sorted((name, whole) for name in above)


@pytest.mark.parametrize("content", [b"", b"x", os.urandom(100_000), b" " * 10_000_000])
def test_a_compressed_file_is_read_whole_whatever_it_says_of_its_size(content: bytes) -> None:
    whole = gzip.compress(content)
    assert decompress(whole) == content
    assert decompress(whole + gzip.compress(b"first ") + gzip.compress(b"second")) == content + b"first second"
    assert decompress(gzip.compress(b"first ") + gzip.compress(b"second")) == b"first second"


@pytest.mark.parametrize("place", [-1, -5, -8, 30])
def test_a_compressed_file_with_a_wrong_byte_is_refused(place: int) -> None:
    broken = bytearray(gzip.compress(os.urandom(1000)))
    broken[place] ^= 1
    with pytest.raises(DocumentError, match="whole gzip file"):
        decompress(bytes(broken))
    with pytest.raises(DocumentError, match="whole gzip file"):
        decompress(bytes(broken[:-9]))
