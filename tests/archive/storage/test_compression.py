"""Plain data files become .gz, and no instant is without a whole copy."""

import gzip
import json
import os
import random
import resource
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from archive.exceptions import ArchiveError, DocumentError
from archive.format.layout import JobKey, job_folder
from archive.storage import compression
from archive.storage.compression import Compressed, Compression, compress
from archive.storage.files import Folder
from archive.storage.store import ArchiveStore
from tests.support.paths import PROJECT

KEY = JobKey("fritz", 1034871, 1000)
DATA = b'{"cpu_load": {"node": [1.0, null]}}'


def put(store: ArchiveStore, plain: bytes = DATA, compressed: bytes | None = None, key: JobKey = KEY) -> Path:
    """Write a job with a data.json, or with both files; return its folder."""
    meta = {"jobId": key.job_id, "cluster": key.cluster, "startTime": key.start_time, "duration": 600}
    store.write_meta(key, json.dumps(meta).encode())
    folder = job_folder(store.root, key)
    (folder / "data.json").write_bytes(plain)
    if compressed is not None:
        (folder / "data.json.gz").write_bytes(compressed)
    return folder


def data_files(folder: Path) -> dict[str, bytes]:
    """Return what lies in a folder beside meta.json."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "meta.json"}


@pytest.mark.parametrize("size", [0, 1, compression._CHUNK - 1, compression._CHUNK, 3 * compression._CHUNK + 7])
def test_the_content_stays_and_the_plain_file_goes(store: ArchiveStore, size: int) -> None:
    plain = random.Random(size).randbytes(size)
    folder = put(store, plain)
    done = compress(store, KEY)
    assert list(data_files(folder)) == ["data.json.gz"]
    assert gzip.decompress((folder / "data.json.gz").read_bytes()) == plain
    assert done == Compressed(size, (folder / "data.json.gz").stat().st_size)
    assert compress(store, KEY) is None


def test_an_equal_gz_stays_as_it_is(store: ArchiveStore) -> None:
    theirs = gzip.compress(DATA[:10]) + gzip.compress(DATA[10:])
    folder = put(store, compressed=theirs)
    assert compress(store, KEY) == Compressed(len(DATA), len(theirs))
    assert data_files(folder) == {"data.json.gz": theirs}


@pytest.mark.parametrize("other", [b"{}", DATA[:-1], DATA + b" ", b""])
def test_a_whole_gz_that_differs_is_reported_and_both_are_left(store: ArchiveStore, other: bytes) -> None:
    folder = put(store, compressed=gzip.compress(other))
    before = data_files(folder)
    with pytest.raises(DocumentError, match=r"data\.json\.gz: is whole, but differs"):
        compress(store, KEY)
    assert data_files(folder) == before


BROKEN = [gzip.compress(DATA)[:-4], gzip.compress(DATA)[:15], gzip.compress(DATA)[:-6] + b"xx", b"", b"no gzip at all"]
BROKEN[2] += gzip.compress(DATA)[-4:]


@pytest.mark.parametrize("broken", BROKEN, ids=["cut", "cut early", "wrong sum", "empty", "no gzip"])
def test_a_broken_gz_gives_way_to_a_plain_file_that_is_json(store: ArchiveStore, broken: bytes) -> None:
    folder = put(store, compressed=broken)
    compress(store, KEY)
    assert list(data_files(folder)) == ["data.json.gz"]
    assert store.read_data(KEY) == DATA


@pytest.mark.parametrize("plain", [b"", DATA[:-1], DATA + b"}", b"{'a': 1}"])
def test_a_broken_gz_stays_beside_a_plain_file_that_is_no_json(store: ArchiveStore, plain: bytes) -> None:
    folder = put(store, plain, compressed=gzip.compress(DATA)[:-4])
    before = data_files(folder)
    with pytest.raises(DocumentError, match="is no JSON; both are left"):
        compress(store, KEY)
    assert data_files(folder) == before


def test_large_files_are_worked_on_piece_by_piece(store: ArchiveStore) -> None:
    plain = b"[" + b"1234567.25," * 4_000_000 + b"1]"
    folder = put(store, plain, compressed=b"cut")
    del plain
    tracemalloc.start()
    try:
        compress(store, KEY)
        assert tracemalloc.get_traced_memory()[1] < 10 * compression._CHUNK
    finally:
        tracemalloc.stop()
    assert list(data_files(folder)) == ["data.json.gz"]


@pytest.mark.parametrize("name", ["data.json", "data.json.gz"])
def test_what_another_process_writes_meanwhile_is_kept(
    store: ArchiveStore, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = put(store)
    original = compression._compress
    other = b'"other"' if name == "data.json" else gzip.compress(b'"other"')

    def meanwhile(plain: IO[bytes], descriptor: int) -> None:
        original(plain, descriptor)
        (folder / "new").write_bytes(other)
        (folder / "new").rename(folder / name)

    monkeypatch.setattr(compression, "_compress", meanwhile)
    with pytest.raises(ArchiveError, match=f"{name}: was written by another process"):
        compress(store, KEY)
    assert data_files(folder) == {"data.json": DATA} | {name: other}


def test_a_plain_file_that_is_replaced_after_it_was_compared_is_kept(
    store: ArchiveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(store, compressed=gzip.compress(DATA))
    original = compression._is_compressed

    def then_replaced(opened: Folder, plain: IO[bytes]) -> bool:
        equal = original(opened, plain)
        opened.write_bytes("data.json", b'"other"')
        return equal

    monkeypatch.setattr(compression, "_is_compressed", then_replaced)
    with pytest.raises(ArchiveError, match=r"data\.json: was written by another process"):
        compress(store, KEY)
    assert data_files(folder)["data.json"] == b'"other"'


def test_what_does_not_read_back_the_same_never_gets_the_name(
    store: ArchiveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(store)

    def forgetful(descriptor: int) -> None:
        os.truncate(descriptor, os.fstat(descriptor).st_size - 5)

    monkeypatch.setattr(compression, "drop_cached", forgetful)
    with pytest.raises(ArchiveError, match="read back differs"):
        compress(store, KEY)
    assert data_files(folder) == {"data.json": DATA}


def test_age_and_cluster_choose(store: ArchiveStore) -> None:
    folders = [put(store, key=key) for key in (KEY, KEY._replace(start_time=2000), KEY._replace(cluster="alex"))]
    assert Compression(store, before=1600).run().files == 0
    assert Compression(store, before=1601, cluster="fritz").survey().before == len(DATA)
    counts = Compression(store, before=1601, cluster="fritz").run()
    assert (counts.files, counts.before, counts.failed) == (1, len(DATA), 0)
    assert [(folder / "data.json").exists() for folder in folders] == [False, True, True]
    assert Compression(store).run().files == 2


def test_incomplete_jobs_are_left(store: ArchiveStore) -> None:
    folder = put(store)
    (folder / "meta.json").unlink()
    assert Compression(store).run().files == 0
    assert data_files(folder) == {"data.json": DATA}


def test_what_cannot_be_done_is_named_and_the_others_are_done(store: ArchiveStore) -> None:
    bad = put(store, compressed=gzip.compress(b"{}"))
    put(store, key=KEY._replace(job_id=1))
    unknown = put(store, key=KEY._replace(job_id=2))
    (unknown / "meta.json").write_text("{")
    told: list[str] = []
    counts = Compression(store, before=9999, trouble=told.append).run()
    assert (counts.files, counts.failed) == (1, 2)
    assert sorted(text.partition(": ")[0] for text in told) == sorted([str(bad), str(unknown)])


def test_it_stops_between_files(store: ArchiveStore) -> None:
    for number in range(1, 60):
        put(store, key=KEY._replace(job_id=number))
    work = Compression(store)
    work.progress = lambda number: work.stopping.set()
    assert 1 <= work.run().files < 59
    assert Compression(store).survey().files == 59 - work.counts.files
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("compress")]


def test_files_are_found_while_others_are_compressed_a_bounded_number_ahead() -> None:
    begun: list[int] = []

    def count() -> Iterator[int]:
        for number in range(10_000):
            begun.append(number)
            yield number

    results = compression.in_threads(lambda number: number * 2, count())
    assert next(results) == 0
    assert len(begun) < 1000
    assert list(results) == [number * 2 for number in range(1, 10_000)]


FULL = """
import resource, sys
from pathlib import Path
from archive.storage.compression import Compression
from tests.support.paths import PROJECT
from archive.storage.store import ArchiveStore
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
counts = Compression(ArchiveStore(Path(sys.argv[1])), trouble=print).run()
print(counts.files, counts.failed)
"""


def test_where_the_gz_cannot_be_written_the_plain_file_stays(store: ArchiveStore) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    folder = put(store, random.Random(1).randbytes(300_000))
    before = data_files(folder)
    put(store, key=KEY._replace(job_id=2_000_000))
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    output = subprocess.run(
        [sys.executable, "-c", FULL, str(store.root)], env=environment, check=True, capture_output=True, text=True
    ).stdout
    assert "File too large" in output
    assert output.splitlines()[-1] == "1 1"
    assert data_files(folder) == before
