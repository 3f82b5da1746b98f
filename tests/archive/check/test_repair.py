"""Repairing an archive: what is done about a finding, and what never is."""

import shutil
from pathlib import Path

import pytest

from archive.check.findings import Code, Finding
from archive.check.repair import repair
from archive.storage.store import ArchiveStore
from tests.support.checked_jobs import KEY, check, only
from tests.support.on_disk import content


def test_a_plain_copy_of_the_compressed_data_is_removed(store: ArchiveStore, folder: Path) -> None:
    (folder / "data.json").write_bytes(store.read_data(KEY))
    assert "holds the same" in repair(store.root, only(store, Code.TWO_DATA_FILES))
    assert sorted(path.name for path in folder.iterdir()) == ["data.json.gz", "meta.json"]


def test_other_plain_data_beside_the_compressed_stays(store: ArchiveStore, folder: Path) -> None:
    (folder / "data.json").write_bytes(b"{}")
    finding = only(store, Code.TWO_DATA_FILES)
    assert repair(store.root, finding) == ""
    assert (folder / "data.json").exists()


@pytest.mark.parametrize("damaged", ["data.json", "data.json.gz"])
def test_a_cut_data_file_beside_an_intact_one_is_removed(store: ArchiveStore, folder: Path, damaged: str) -> None:
    (folder / "data.json").write_bytes(store.read_data(KEY))
    (folder / damaged).write_bytes((folder / damaged).read_bytes()[:-20])
    findings = {finding.code: finding for finding in check(store)}
    assert findings.keys() == {Code.BAD_DATA, Code.TWO_DATA_FILES}
    assert repair(store.root, findings[Code.TWO_DATA_FILES]) == ""
    assert "is intact" in repair(store.root, findings[Code.BAD_DATA])
    assert not (folder / damaged).exists()
    assert check(store) == []


def test_damaged_plain_data_that_is_no_part_of_the_intact_stays(store: ArchiveStore, folder: Path) -> None:
    (folder / "data.json").write_bytes(b'{"other":')
    finding = next(finding for finding in check(store) if finding.code == Code.BAD_DATA)
    assert repair(store.root, finding) == ""
    assert (folder / "data.json").exists()


def test_the_only_data_file_stays_however_damaged(store: ArchiveStore, folder: Path) -> None:
    (folder / "data.json.gz").write_bytes(b"cut")
    assert repair(store.root, only(store, Code.BAD_DATA)) == ""
    assert (folder / "data.json.gz").read_bytes() == b"cut"


def test_a_job_in_the_wrong_place_moves_where_it_belongs(store: ArchiveStore, folder: Path) -> None:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    wrong = store.root / "testcluster/5/001/7"
    wrong.parent.mkdir(parents=True)
    folder.rename(wrong)
    finding = next(finding for finding in check(store) if finding.code == Code.WRONG_PLACE)
    assert repair(store.root, finding) == "moved to testcluster/1034/871/1700000000"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    assert check(store) == []


def test_a_job_in_the_wrong_place_stays_where_its_own_is_taken_or_it_is_damaged(
    store: ArchiveStore, folder: Path
) -> None:
    wrong = folder.with_name("1700000001")
    shutil.copytree(folder, wrong)
    before = content(store.root)
    assert repair(store.root, only(store, Code.DUPLICATE)) == ""
    assert repair(store.root, Finding(Code.WRONG_PLACE, wrong / "meta.json", "")) == ""
    assert content(store.root) == before
    shutil.rmtree(folder)
    (wrong / "data.json.gz").write_bytes(b"cut")
    findings = {finding.code: finding for finding in check(store)}
    assert findings.keys() == {Code.BAD_DATA, Code.WRONG_PLACE}
    assert repair(store.root, findings[Code.WRONG_PLACE]) == ""
    assert wrong.exists()
