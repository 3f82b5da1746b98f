"""Names to paths and back."""

from pathlib import Path

import pytest

from archive.exceptions import InvalidNameError
from archive.format.layout import JobKey, is_valid_cluster_name, job_folder, parse_job_folder

ROOT = Path("/srv/archive")


@pytest.mark.parametrize(
    ("job_id", "expected"),
    [(1034871, "1034/871"), (12, "0/012"), (1000, "1/000"), (999, "0/999"), (10**12, "1000000000/000")],
)
def test_the_job_id_is_split_into_thousands_and_three_digits(job_id: int, expected: str) -> None:
    key = JobKey("fritz", job_id, 1649723812)
    path = job_folder(ROOT, key)
    assert path == ROOT / "fritz" / expected / "1649723812"
    assert parse_job_folder(ROOT, path) == key


@pytest.mark.parametrize("name", ["fritz", "a-b_c.d", "0", "_x", "-x", "a" * 255])
def test_letters_digits_and_three_signs_make_a_cluster_name(name: str) -> None:
    assert is_valid_cluster_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "a\n", "é", "a\0", "٣", "a" * 256, "version.txt"]
)
def test_a_name_that_could_leave_the_root_or_hit_its_files_is_refused(name: str) -> None:
    assert not is_valid_cluster_name(name)
    with pytest.raises(InvalidNameError, match="cluster name"):
        job_folder(ROOT, JobKey(name, 1, 1))


@pytest.mark.parametrize(("job_id", "start"), [(0, 1), (-1, 1), (1, 0), (1, -5)])
def test_ids_and_times_that_are_not_above_zero_are_refused(job_id: int, start: int) -> None:
    with pytest.raises(InvalidNameError, match="above zero"):
        job_folder(ROOT, JobKey("fritz", job_id, start))


@pytest.mark.parametrize(
    "path",
    [
        "fritz/1/001",
        "fritz/1/001/5/more",
        "fritz/01/001/5",
        "fritz/1/1/5",
        "fritz/1/001/05",
        "fritz/1/001/x",
        "fritz/0/000/5",
        "fritz/1/001/0",
        ".fritz/1/001/5",
        "fritz/1/١٢٣/5",
    ],
)
def test_a_folder_in_the_wrong_place_is_no_job(path: str) -> None:
    assert parse_job_folder(ROOT, ROOT / path) is None


def test_a_folder_outside_the_root_is_no_job() -> None:
    assert parse_job_folder(ROOT, Path("/elsewhere/fritz/1/001/5")) is None
