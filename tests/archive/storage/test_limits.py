"""ARCHIVE_MAX_JSON: what is larger is refused by name before it takes memory, packed or not; pipes are not read."""

import gzip
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from isal import igzip

from archive.exceptions import DocumentError
from archive.processes import Workers
from archive.storage.files import read_file
from archive.storage.store import decompress, read_data_file

LIMIT = 1_000_000
SIZE = 64 * LIMIT


def packed(kind: str) -> bytes:
    """Return a gzip file that unpacks to SIZE zeros, whose last four bytes may say otherwise."""
    if kind == "several streams":
        return igzip.compress(bytes(LIMIT)) * 64
    whole: bytes = igzip.compress(bytes(SIZE))
    ends = {"honest": whole[-4:], "small": b"\5\0\0\0", "huge": b"\xff\xff\xff\xff"}
    return whole[:-4] + ends[kind]


@pytest.mark.parametrize("kind", ["honest", "small", "huge", "several streams"])
def test_a_gzip_file_that_unpacks_to_more_is_refused_in_little_memory(settings: Any, kind: str) -> None:
    settings.ARCHIVE_MAX_JSON = LIMIT
    content = packed(kind)
    tracemalloc.start()
    try:
        with pytest.raises(DocumentError, match="unpacks to more than the setting ARCHIVE_MAX_JSON allows"):
            decompress(content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * LIMIT


def test_a_plain_file_is_refused_without_reading_it(settings: Any, tmp_path: Path) -> None:
    settings.ARCHIVE_MAX_JSON = LIMIT
    path = tmp_path / "data.json"
    path.write_bytes(b"")
    os.truncate(path, LIMIT + 1)
    with pytest.raises(DocumentError, match=r"data\.json: 1,000,001 bytes, more than the setting ARCHIVE_MAX_JSON"):
        read_data_file(path)
    os.truncate(path, LIMIT)
    assert len(read_data_file(path)) == LIMIT


def test_what_the_limit_allows_is_read_whatever_its_last_bytes_say(settings: Any) -> None:
    settings.ARCHIVE_MAX_JSON = LIMIT
    plain = bytes(range(200)) * 5000
    assert decompress(gzip.compress(plain)) == plain
    assert decompress(gzip.compress(plain[:500_000]) + gzip.compress(plain[500_000:])) == plain
    with pytest.raises(DocumentError, match="expected a whole gzip file"):
        decompress(gzip.compress(plain)[:-9])


def test_other_processes_have_the_limit_of_this_one(settings: Any, tmp_path: Path) -> None:
    settings.ARCHIVE_MAX_JSON = LIMIT
    path = tmp_path / "meta.json"
    path.write_bytes(bytes(LIMIT + 1))
    with Workers("archive.storage.store", 1) as workers, pytest.raises(DocumentError, match="ARCHIVE_MAX_JSON"):
        list(workers.map(read_file, [path]))  # type: ignore[arg-type]  # the function fails


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_would_never_end_is_no_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "meta.json"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(OSError, match="is no regular file"):
        read_file(path)
