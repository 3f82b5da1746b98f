"""Another archive to import jobs of cluster fritz from, and what is right after an import."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archive.format.layout import JobKey, job_folder
from archive.storage.store import ArchiveStore
from jobs.models import ArchiveTask, Job

DATA = b'{"cpu_load":{"node":{"unit":{"base":""},"timestep":60,"series":[{"hostname":"n01","data":[1.0,null]}]}}}'


META: dict[str, Any] = {
    "jobId": 1034871,
    "user": "alice",
    "project": "bio",
    "cluster": "fritz",
    "subCluster": "main",
    "partition": "work",
    "arrayJobId": 1034000,
    "numNodes": 2,
    "numHwthreads": 8,
    "numAcc": 1,
    "exclusive": 2,
    "monitoringStatus": 1,
    "smt": 4,
    "jobState": "timeout",
    "duration": 600,
    "walltime": 3600,
    "tags": [{"id": 77, "type": "class", "name": "ä"}, {"type": "bug", "name": "one", "scope": "global"}],
    "resources": [
        {"hostname": "n01", "hwthreads": [0, 1], "accelerators": ["00:1"], "configuration": "c"},
        {"hostname": "n02"},
    ],
    "metaData": {"jobName": "a job", "jobScript": "#!/bin/sh\n", "nothing": None},
    "startTime": 1649723812,
    "statistics": {"cpu_load": {"unit": {"base": ""}, "avg": 0.510204081632653, "min": 0, "max": 1.50}},
    "stopTime": 1649724412,
}


Put = Callable[..., Path]


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Return the root of another archive, with version.txt alone."""
    root = tmp_path / "theirs"
    root.mkdir()
    (root / "version.txt").write_text("1")
    return root


@pytest.fixture
def put(theirs: Path) -> Put:
    """Return a function that puts a job into the other archive: META with changes, and data files by name."""

    def put(files: dict[str, bytes] | None = None, **changes: Any) -> Path:
        meta = {key: value for key, value in (META | changes).items() if value is not None}
        folder = job_folder(theirs, JobKey("fritz", meta["jobId"], meta["startTime"]))
        folder.mkdir(parents=True)
        (folder / "meta.json").write_text(json.dumps(meta, indent=4))
        for name, content in ({"data.json.gz": gzip.compress(DATA)} if files is None else files).items():
            (folder / name).write_bytes(content)
        return folder

    return put


def written(root: Path, key: JobKey) -> dict[str, Any]:
    """Return our meta.json of a job."""
    document: dict[str, Any] = json.loads(ArchiveStore(root).read_meta(key))
    return document


def assert_nothing_is_half_done(root: Path) -> None:
    """Check that folders and rows are the same jobs, complete, and no work or temporary file is left."""
    assert set(ArchiveStore(root).iter_jobs()) == {job.key for job in Job.objects.all()}
    assert not ArchiveTask.objects.exists()
    assert not list(root.rglob("*.tmp"))
    for job in Job.objects.all():
        assert written(root, job.key)["id"] == job.pk
