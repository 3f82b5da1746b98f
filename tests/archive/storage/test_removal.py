"""Finding old jobs, taking them out of the archive, copying them to another one."""

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from archive.exceptions import ArchiveError
from archive.format.layout import JobKey, job_folder
from archive.storage import removal
from archive.storage.store import ArchiveStore
from tests.support.on_disk import content

KEY = JobKey("fritz", 1034871, 1000)
END = 1600


def put(store: ArchiveStore, key: JobKey = KEY, data: bytes | None = b'{"a": 1}', **values: object) -> Path:
    """Write a job that ends at `END` unless told otherwise; return its folder."""
    meta = {"jobId": key.job_id, "cluster": key.cluster, "startTime": key.start_time, "duration": END - key.start_time}
    store.write_job(key, json.dumps(meta | values).encode(), data)
    return job_folder(store.root, key)


def found(store: ArchiveStore, before: int = END + 1, **options: str) -> tuple[list[removal.DueFolder], list[str]]:
    """Return what is due, and what was complained of."""
    told: list[str] = []
    return list(removal.find(store, before=before, trouble=told.append, **options)), told


@pytest.fixture
def target(tmp_path: Path) -> ArchiveStore:
    """Return another one."""
    target = ArchiveStore(tmp_path / "target")
    target.prepare()
    return target


def test_the_end_of_a_job_decides_and_the_very_second_stays(store: ArchiveStore) -> None:
    folder = put(store)
    put(store, JobKey("fritz", 1, 999), duration=5000)
    put(store, JobKey("fritz", 2, 5000))
    assert found(store, END) == ([], [])
    due, told = found(store, END + 1)
    assert [(job.key, job.removed, job.tagged) for job in due] == [(KEY, False, False)]
    assert due[0].size == sum(map(len, content(folder).values()))
    assert told == []


def test_one_cluster_can_be_chosen_and_tags_are_seen(store: ArchiveStore) -> None:
    put(store)
    put(store, KEY._replace(cluster="alex"), tags=[{"type": "a", "name": "b"}])
    assert [(job.key.cluster, job.tagged) for job in found(store)[0]] == [("alex", True), ("fritz", False)]
    assert [job.key.cluster for job in found(store, cluster="fritz")[0]] == ["fritz"]


def _cut_meta(folder: Path) -> None:
    (folder / "meta.json").write_text('{"jobId": 1')


def _wrong_meta(folder: Path) -> None:
    (folder / "meta.json").write_text('{"jobId": 7, "cluster": "fritz", "startTime": 1000, "duration": 1}')


def _note(folder: Path) -> None:
    (folder / "notes.txt").write_text("keep")


def _link(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_cut_meta, "expected a JSON object"),
        (_wrong_meta, "names job 7 of fritz"),
        (_note, "holds notes.txt"),
        (_link, "is a link"),
    ],
)
def test_what_is_not_as_it_should_be_is_named_and_left(
    store: ArchiveStore, spoil: Callable[[Path], None], message: str
) -> None:
    folder = put(store)
    spoil(folder)
    due, told = found(store)
    assert due == []
    assert len(told) == 1
    assert told[0].startswith(f"{folder}: ")
    assert message in told[0]


def test_an_incomplete_folder_is_left(store: ArchiveStore) -> None:
    (put(store) / "meta.json").unlink()
    assert found(store) == ([], [])


def test_a_job_is_gone_in_one_step_and_its_files_in_the_next(store: ArchiveStore) -> None:
    before = content(put(store))
    hidden = removal.hide(store, KEY)
    assert content(hidden) == before
    assert not store.has_job(KEY)
    assert list(store.iter_jobs()) == []
    due, _ = found(store)
    assert [(job.key, job.folder, job.removed) for job in due] == [(KEY, hidden, True)]
    removal.remove_folder(hidden)
    removal.remove_folder(hidden)
    assert list(hidden.parent.iterdir()) == []
    removal.remove_empty_folders(store)
    assert [path.name for path in (store.root / "fritz").iterdir()] == []


def test_meta_json_leaves_a_hidden_folder_first(store: ArchiveStore) -> None:
    put(store)
    hidden = removal.hide(store, KEY)
    (hidden / "folder").mkdir()  # on which the removal stumbles
    with pytest.raises(OSError, match="folder"):
        removal.remove_folder(hidden)
    assert not (hidden / "meta.json").exists()


def test_folders_with_something_in_them_stay(store: ArchiveStore) -> None:
    put(store)
    (store.root / "fritz" / "7" / "001" / "1000").mkdir(parents=True)  # as a writer makes one
    (store.root / "fritz" / "8" / "001").mkdir(parents=True)
    removal.remove_empty_folders(store)
    assert store.has_job(KEY)
    assert (store.root / "fritz" / "7" / "001" / "1000").is_dir()
    assert not (store.root / "fritz" / "8").exists()


def test_what_somebody_is_writing_is_not_taken(store: ArchiveStore) -> None:
    folder = put(store)
    (folder / ".meta.json.1-dead.tmp").write_text("of a killed writer")
    with (folder / ".data.json.gz.2-live.tmp").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ArchiveError, match=r"holds \.data\.json\.gz\.2-live\.tmp"):
            removal.hide(store, KEY)
    assert store.has_job(KEY)
    removal.hide(store, KEY)


def test_a_job_is_copied_byte_for_byte_and_complete_last(store: ArchiveStore, target: ArchiveStore) -> None:
    folder = put(store)
    (folder / "data.json").write_bytes(b'{"b": 2}')
    removal.copy_data(store, target, KEY)
    assert not target.has_job(KEY)
    assert sorted(content(job_folder(target.root, KEY))) == ["data.json", "data.json.gz"]
    removal.copy_meta(store, target, KEY)
    assert content(job_folder(target.root, KEY)) == content(folder)
    removal.copy_data(store, target, KEY)
    removal.copy_meta(store, target, KEY)
    assert content(job_folder(target.root, KEY)) == content(folder)


@pytest.mark.parametrize("name", ["meta.json", "data.json.gz"])
def test_a_job_that_differs_at_the_target_is_named_and_nothing_is_lost(
    store: ArchiveStore, target: ArchiveStore, name: str
) -> None:
    ours, theirs = content(put(store)), put(target)
    (theirs / name).write_bytes(b"other")
    other = content(theirs)
    with pytest.raises(ArchiveError, match=rf"{theirs}.*differs"):
        removal.copy_data(store, target, KEY)
    assert content(theirs) == other
    assert content(job_folder(store.root, KEY)) == ours


@pytest.mark.parametrize("complete", [True, False])
def test_other_data_at_the_target_is_never_written_over(
    store: ArchiveStore, target: ArchiveStore, complete: bool
) -> None:
    put(store, data=None)
    theirs = put(target)
    if not complete:
        (theirs / "meta.json").unlink()
    other = content(theirs)
    with pytest.raises(ArchiveError, match=f"{theirs}: holds other files"):
        removal.copy_data(store, target, KEY)
    assert content(theirs) == other


def test_a_target_without_the_data_file_differs(store: ArchiveStore, target: ArchiveStore) -> None:
    put(store)
    put(target, data=None)
    with pytest.raises(ArchiveError, match="holds other files"):
        removal.copy_data(store, target, KEY)


def test_a_copy_that_did_not_become_complete_can_be_dropped(store: ArchiveStore, target: ArchiveStore) -> None:
    put(store)
    removal.copy_data(store, target, KEY)
    removal.drop_copy(target, KEY)
    assert content(target.root).keys() == {"version.txt"}
    removal.copy_data(store, target, KEY)
    removal.copy_meta(store, target, KEY)
    removal.drop_copy(target, KEY)
    assert target.has_job(KEY)


class Damaging(ArchiveStore):
    """An archive on a disk that does not keep what was written to it."""

    def copy_data(self, key: JobKey, source: Path) -> Path:
        """Copy, and lose a byte."""
        path = super().copy_data(key, source)
        os.truncate(path, path.stat().st_size - 1)
        return path


def test_a_copy_that_differs_from_its_source_never_becomes_complete(store: ArchiveStore, target: ArchiveStore) -> None:
    put(store)
    with pytest.raises(ArchiveError, match="differs from the file here"):
        removal.copy_data(store, Damaging(target.root), KEY)
    assert not target.has_job(KEY)


def test_a_folder_that_both_archives_share_is_no_copy(store: ArchiveStore, target: ArchiveStore) -> None:
    put(store)
    (target.root / "fritz").symlink_to(store.root / "fritz")
    with pytest.raises(ArchiveError, match="the same folder"):
        removal.copy_data(store, target, KEY)


def test_a_target_is_made_with_version_and_clusters(store: ArchiveStore, tmp_path: Path) -> None:
    for name in ("fritz", "alex"):
        store.write_cluster(name, b'{"name": "ours"}')
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        target = removal.open_target(store, tmp_path / name)
        assert content(tmp_path / name) == {}
        removal.prepare_target(store, target, "fritz")
        assert content(target.root) == {"version.txt": b"1\n", "fritz/cluster.json": b'{"name": "ours"}'}
        target.write_cluster("fritz", b'{"name": "theirs"}')
        removal.prepare_target(store, removal.open_target(store, target.root))
        assert json.loads((target.root / "fritz/cluster.json").read_bytes()) == {"name": "theirs"}
        assert target.clusters() == ["alex", "fritz"]


def _file(path: Path) -> None:
    path.write_text("x")


def _other_content(path: Path) -> None:
    path.mkdir()
    (path / "thesis.tex").write_text("x")


def _other_version(path: Path) -> None:
    path.mkdir()
    (path / "version.txt").write_text("2")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_file, "expected a folder"),
        (_other_content, r"holds thesis\.tex and no version\.txt"),
        (_other_version, "archive version '2'"),
        (lambda path: path.symlink_to(path.with_name("archive")), "this archive itself"),
        (lambda path: path.symlink_to(path.with_name("archive") / "fritz"), "overlaps this archive"),
        (lambda path: path.symlink_to(path.parent), "overlaps this archive"),
    ],
)
def test_a_target_that_cannot_be_is_named(
    store: ArchiveStore, tmp_path: Path, make: Callable[[Path], None], message: str
) -> None:
    (store.root / "fritz").mkdir()
    make(tmp_path / "there")
    with pytest.raises(ArchiveError, match=message) as caught:
        removal.open_target(store, tmp_path / "there")
    assert str(tmp_path / "there") in str(caught.value)


def test_a_target_without_its_parent_is_not_made(store: ArchiveStore, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="mounted"):
        removal.open_target(store, tmp_path / "cold" / "archive")
    assert not (tmp_path / "cold").exists()
