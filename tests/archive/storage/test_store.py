"""The store: durable, atomic writes, and reading what lies there."""

import gzip
import json
import os
import shutil
import stat
import threading
from pathlib import Path

import pytest
from pytest_django import Settings

from archive.exceptions import ArchiveError, ArchiveVersionError, DocumentError, InvalidNameError
from archive.format.layout import JobKey, job_folder
from archive.storage import files
from archive.storage.store import ArchiveStore, store_for
from tests.support.on_disk import names, temp_files
from tests.support.paths import SHARED

KEY = JobKey("fritz", 1034871, 1649723812)


def test_a_missing_root_is_created_with_version_1_and_nothing_else(tmp_path: Path) -> None:
    store = ArchiveStore(tmp_path / "deep" / "archive")
    store.prepare()
    assert [path.name for path in store.root.iterdir()] == ["version.txt"]
    assert (store.root / "version.txt").read_text().strip() == "1"
    store.prepare()


def test_a_root_without_version_reads_as_version_1_and_is_left_as_it_is(tmp_path: Path) -> None:
    ArchiveStore(tmp_path).prepare()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", ["job", "meta", "data", "cluster"])
def test_a_root_that_existed_before_gets_its_version_at_the_first_write(tmp_path: Path, write: str) -> None:
    """cc-backend refuses a root without version.txt."""
    root, data = tmp_path / "archive", tmp_path / "data.json"
    root.mkdir()
    data.write_bytes(b"{}")
    store = ArchiveStore(root)
    store.prepare()
    if write == "job":
        store.write_job(KEY, b"{}", b"{}")
    elif write == "meta":
        store.write_meta(KEY, b"{}")
    elif write == "data":
        store.copy_data(KEY, data)
    else:
        store.write_cluster("fritz", b"{}")
    assert (root / "version.txt").read_bytes() == b"1\n"


def test_a_version_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    (tmp_path / "version.txt").write_bytes(b"1")
    ArchiveStore(tmp_path).write_job(KEY, b"{}", b"{}")
    assert (tmp_path / "version.txt").read_bytes() == b"1"


def test_a_root_whose_maker_was_killed_gets_its_version(tmp_path: Path) -> None:
    (tmp_path / ".version.txt.99-abc.tmp").write_text("")
    ArchiveStore(tmp_path).prepare()
    assert [path.name for path in tmp_path.iterdir()] == ["version.txt"]


@pytest.mark.parametrize("version", ["2", "", "one"])
def test_a_root_of_another_version_is_refused(tmp_path: Path, version: str) -> None:
    (tmp_path / "version.txt").write_text(version)
    with pytest.raises(ArchiveVersionError, match=r"version\.txt.*expected '1'"):
        ArchiveStore(tmp_path).prepare()


def test_a_file_in_place_of_the_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArchiveVersionError, match="expected a folder"):
        ArchiveStore(tmp_path / "file").prepare()


def test_a_job_comes_back_as_it_was_written(store: ArchiveStore) -> None:
    assert not store.has_job(KEY)
    store.write_job(KEY, b'{"jobId": 1}', b'{"cpu_load": {}}')
    assert store.has_job(KEY)
    assert store.read_meta(KEY) == b'{"jobId": 1}'
    assert store.read_data(KEY) == b'{"cpu_load": {}}'
    assert names(store, KEY) == ["data.json.gz", "meta.json"]
    assert gzip.decompress((job_folder(store.root, KEY) / "data.json.gz").read_bytes()) == b'{"cpu_load": {}}'


def test_a_job_without_data_is_meta_json_alone(store: ArchiveStore) -> None:
    store.write_job(KEY, b"{}", None)
    assert names(store, KEY) == ["meta.json"]
    assert store.data_files(KEY) == []
    with pytest.raises(FileNotFoundError):
        store.read_data(KEY)


def test_an_older_plain_data_file_goes_when_the_compressed_one_is_written(store: ArchiveStore) -> None:
    store.write_job(KEY, b"{}", None)
    (job_folder(store.root, KEY) / "data.json").write_bytes(b'"old"')
    assert store.read_data(KEY) == b'"old"'
    store.write_job(KEY, b"{}", b'"new"')
    assert names(store, KEY) == ["data.json.gz", "meta.json"]


def test_the_old_plain_data_file_stays_until_the_new_one_is_on_disk(
    store: ArchiveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_job(KEY, b"{}", None)
    plain = job_folder(store.root, KEY) / "data.json"
    plain.write_bytes(b'"old"')
    monkeypatch.setattr(os, "fsync", _failing)
    with pytest.raises(OSError, match="no space"):
        store.write_job(KEY, b'"new"', b'"new"')
    assert plain.read_bytes() == b'"old"'
    assert store.read_meta(KEY) == b"{}"
    assert temp_files(store.root) == []


def _failing(descriptor: int) -> None:
    raise OSError("no space")


def test_the_compressed_file_wins_over_the_plain_one(store: ArchiveStore) -> None:
    store.write_job(KEY, b"{}", b'"gz"')
    (job_folder(store.root, KEY) / "data.json").write_bytes(b'"plain"')
    assert store.read_data(KEY) == b'"gz"'
    assert [path.name for path in store.data_files(KEY)] == ["data.json.gz", "data.json"]


def test_the_size_of_the_data_is_known_without_unpacking_it(store: ArchiveStore) -> None:
    store.write_job(KEY, b"{}", None)
    with pytest.raises(FileNotFoundError):
        store.data_size(KEY)
    folder = job_folder(store.root, KEY)
    (folder / "data.json").write_bytes(b"x" * 7)
    assert store.data_size(KEY) == 7
    (folder / "data.json.gz").write_bytes(gzip.compress(b"x" * 5000))
    assert store.data_size(KEY) == 5000


@pytest.mark.parametrize("content", [b"", b"no", b"no gzip"])
def test_the_size_of_what_is_no_gzip_file_is_that_of_the_file(store: ArchiveStore, content: bytes) -> None:
    store.write_job(KEY, b"{}", b"{}")
    store.data_files(KEY)[0].write_bytes(content)
    assert store.data_size(KEY) == len(content)


@pytest.mark.parametrize("cut", [10, -9, -1])
def test_a_cut_data_file_is_an_error_that_names_it(store: ArchiveStore, cut: int) -> None:
    store.write_job(KEY, b"{}", json.dumps(list(range(1000))).encode())
    path = store.data_files(KEY)[0]
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DocumentError, match=r"data\.json\.gz"):
        store.read_data(KEY)


def test_a_damaged_data_file_is_an_error_that_names_it(store: ArchiveStore) -> None:
    store.write_job(KEY, b"{}", json.dumps(list(range(1000))).encode())
    path = store.data_files(KEY)[0]
    content = bytearray(path.read_bytes())
    content[20:60] = b"\xff" * 40
    path.write_bytes(content)
    with pytest.raises(DocumentError, match=r"data\.json\.gz"):
        store.read_data(KEY)


def test_meta_json_appears_last_and_after_the_data_is_durable(
    store: ArchiveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    rename, fsync = os.rename, os.fsync

    def watched_rename(source: str, target: str, **kwargs: int) -> None:
        events.append(target)
        rename(source, target, **kwargs)

    def watched_fsync(descriptor: int) -> None:
        events.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    store.write_meta(KEY, b"{}")
    monkeypatch.setattr(os, "rename", watched_rename)
    monkeypatch.setattr(os, "fsync", watched_fsync)
    store.write_job(KEY, b"{}", b"{}")
    assert events == ["file", "data.json.gz", "folder", "file", "meta.json", "folder"]
    events.clear()
    store.write_meta(KEY, b"{}")
    assert events == ["file", "meta.json", "folder"]


def test_each_new_folder_is_flushed_in_its_parent(store: ArchiveStore, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr(files, "sync_folder", flushed.append)
    store.write_meta(KEY, b"{}")
    folder = job_folder(store.root, KEY)
    assert flushed == [store.root, store.root / "fritz", store.root / "fritz/1034", folder.parent]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize(("mode", "of_folders"), [(0o600, 0o700), (0o640, 0o750), (0o664, 0o775)])
def test_files_and_folders_have_the_configured_modes_whatever_the_umask(
    tmp_path: Path, settings: Settings, mode: int, of_folders: int, umask: int
) -> None:
    settings.ARCHIVE_MODE = mode
    store = ArchiveStore(tmp_path / "var" / "archive")
    before = os.umask(umask)
    try:
        store.prepare()
        store.write_job(KEY, b"{}", b"{}")
        store.write_cluster("fritz", b"{}")
    finally:
        os.umask(before)
    paths = list((tmp_path / "var").rglob("*"))
    assert len(paths) == 9
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_file()} == {mode}
    assert {stat.S_IMODE(path.stat().st_mode) for path in [tmp_path / "var", *paths] if path.is_dir()} == {of_folders}


def test_a_group_that_new_folders_inherit_stays_inherited(tmp_path: Path, settings: Settings) -> None:
    settings.ARCHIVE_MODE = 0o640
    store = ArchiveStore(tmp_path / "archive")
    store.prepare()
    store.root.chmod(0o2750)
    before = os.umask(0o077)
    try:
        store.write_job(KEY, b"{}", b"{}")
    finally:
        os.umask(before)
    assert stat.S_IMODE(job_folder(store.root, KEY).stat().st_mode) == 0o2750


def test_a_cluster_name_that_is_no_folder_name_is_refused(store: ArchiveStore) -> None:
    with pytest.raises(InvalidNameError):
        store.write_meta(JobKey("../fritz", 1, 1), b"{}")
    assert [path.name for path in store.root.parent.iterdir()] == ["archive"]


def test_a_root_that_is_away_is_not_made_by_a_write(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="not mounted"):
        ArchiveStore(tmp_path / "away").write_meta(KEY, b"{}")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_removed_while_it_is_written_is_a_clear_error_and_no_half_job(
    store: ArchiveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = job_folder(store.root, KEY)
    rename = os.rename

    def remove_then_rename(source: str, target: str, **kwargs: int) -> None:
        rename(source, target, **kwargs)
        if target == "data.json.gz":
            shutil.rmtree(folder)
            folder.mkdir()

    monkeypatch.setattr(os, "rename", remove_then_rename)
    with pytest.raises(ArchiveError, match="removed while"):
        store.write_job(KEY, b"{}", b"{}")
    assert list(folder.iterdir()) == []


def test_data_removed_while_the_job_is_written_is_no_complete_job(
    store: ArchiveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def rename_then_remove(source: str, target: str, **kwargs: int) -> None:
        rename(source, target, **kwargs)
        (job_folder(store.root, KEY) / target).unlink()

    monkeypatch.setattr(os, "rename", rename_then_remove)
    with pytest.raises(ArchiveError, match="removed while"):
        store.write_job(KEY, b"{}", b"{}")
    assert not store.has_job(KEY)


def test_jobs_are_listed_by_cluster_and_number_and_only_where_complete(store: ArchiveStore) -> None:
    keys = [JobKey("alex", 5, 10), JobKey("fritz", 5, 9), JobKey("fritz", 5, 10), JobKey("fritz", 1034871, 7)]
    assert not store.holds_jobs()
    (store.root / "fritz" / "0" / "007" / "10").mkdir(parents=True)
    (store.root / "fritz" / "junk").mkdir()
    (store.root / "fritz" / "0" / "07" / "10").mkdir(parents=True)
    (store.root / "fritz" / "0" / "07" / "10" / "meta.json").write_text("{}")
    assert not store.holds_jobs()
    for key in reversed(keys):
        store.write_meta(key, b"{}")
    assert list(store.iter_jobs()) == keys
    assert list(store.iter_jobs("alex")) == keys[:1]
    assert list(store.iter_jobs("unknown")) == []
    assert list(store.iter_jobs("..")) == []
    assert store.holds_jobs()


def test_jobs_are_listed_one_by_one(store: ArchiveStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for job_id in (1, 1001, 2001):
        store.write_meta(JobKey("fritz", job_id, 1), b"{}")
    listed: list[object] = []
    scandir = os.scandir

    def watched(path: Path) -> object:
        listed.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", watched)
    assert next(store.iter_jobs()).job_id == 1
    assert len(listed) == 4, "root, cluster, thousands, rest"


def test_clusters_are_the_folders_with_a_cluster_json(store: ArchiveStore) -> None:
    for name in ("fritz", "alex", "empty", ".hidden"):
        (store.root / name).mkdir()
    for name in ("fritz", "alex", ".hidden"):
        (store.root / name / "cluster.json").write_text("{}")
    assert store.clusters() == ["alex", "fritz"]


def test_the_store_of_a_root_is_shared(tmp_path: Path) -> None:
    assert store_for(tmp_path) is store_for(Path(str(tmp_path)))
    assert store_for(tmp_path) is not store_for(tmp_path / "other")


def test_many_threads_write_one_job_at_once_and_it_is_whole(store: ArchiveStore) -> None:
    texts = [f'"{digit * 50_000}"'.encode() for digit in "0123456789"]
    threads = [threading.Thread(target=store.write_job, args=(KEY, text, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read_meta(KEY) in texts
    assert store.read_data(KEY) in texts
    assert names(store, KEY) == ["data.json.gz", "meta.json"]


def test_the_sample_archive_is_read() -> None:
    root = SHARED / "samples/archive"
    if not root.is_dir():
        pytest.skip(f"no sample archive at {root}")
    sample = ArchiveStore(root)
    sample.check_version()
    assert list(sample.iter_jobs()) == [JobKey("emmy", 1403244, 1608923076)]
    assert sample.clusters() == ["emmy"]
    assert len(json.loads(sample.read_data(JobKey("emmy", 1403244, 1608923076)))["cpu_load"]["node"]["series"]) == 32
