"""An archive of another writer: jobs of cluster c1, good ones and ones with any content in their files."""

import json
from pathlib import Path
from typing import Any

from archive.format.layout import JobKey, job_folder

START = 1_700_000_000
DEEP = b"[" * 100_000 + b"]" * 100_000

SERIES: dict[str, Any] = {"hostname": "n01", "statistics": {"min": 1, "avg": 2, "max": 3}, "data": [1, 2, 3]}
DATA = json.dumps({"cpu_load": {"node": {"unit": {"base": ""}, "timestep": 60, "series": [SERIES]}}}).encode()
META: dict[str, Any] = {
    "user": "u1",
    "project": "p1",
    "cluster": "c1",
    "subCluster": "main",
    "numNodes": 1,
    "jobState": "completed",
    "duration": 180,
    "startTime": START,
    "resources": [{"hostname": "n01"}],
    "statistics": {"cpu_load": {"unit": {"base": ""}, "min": 1, "avg": 2, "max": 3}},
}

FOREIGN: dict[str, Any] = {
    "id": 77,
    "jobId": 1,
    "user": "alice",
    "project": "bio",
    "cluster": "fritz",
    "subCluster": "main",
    "numNodes": 1,
    "exclusive": 1,
    "monitoringStatus": 3,
    "jobState": "completed",
    "duration": 60,
    "tags": [{"id": 9, "type": "class", "name": "io"}],
    "resources": [{"hostname": "f0001"}],
    "startTime": START,
    "statistics": {"cpu_load": {"unit": {"base": ""}, "avg": 0.510204081632653, "min": 0, "max": 1.5}},
}
"""The meta.json of a job of cluster fritz, with a row id."""


def put_job(root: Path, job_id: int, files: dict[str, bytes] | None = None, **changes: Any) -> Path:
    """Put a job into an archive and return its folder: META with changes and data.json, or the content of `files`."""
    folder = job_folder(root, JobKey("c1", job_id, START))
    folder.mkdir(parents=True)
    content = {"meta.json": json.dumps({"jobId": job_id} | META | changes).encode(), "data.json": DATA} | (files or {})
    for name, text in content.items():
        (folder / name).write_bytes(text)
    return folder


def put_foreign(root: Path, where: JobKey | None = None, **changes: Any) -> Path:
    """Put FOREIGN with changes into an archive and return the folder, its own or that of the job `where`."""
    meta = FOREIGN | changes
    folder = job_folder(root, where or JobKey(meta["cluster"], meta["jobId"], meta["startTime"]))
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps(meta, indent=4))
    return folder
