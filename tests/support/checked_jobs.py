"""Intact jobs in an archive, ways to damage them, and what a check says of them."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from archive.check.findings import Code, Finding
from archive.check.walk import ArchiveCheck
from archive.format.cluster_json import decode_cluster
from archive.format.data_json import MetricData, Series, encode_data, job_statistics
from archive.format.layout import JobKey, job_folder
from archive.format.meta_json import Resource
from archive.sources.base import JobInfo
from archive.sources.synthetic import SyntheticSource
from archive.storage.store import ArchiveStore
from tests.conftest import TEST_CLUSTER

START = 1_700_000_000
KEY = JobKey("testcluster", 1034871, START)
CLUSTER = decode_cluster(json.dumps(TEST_CLUSTER).encode())


def add_job(store: ArchiveStore, key: JobKey = KEY, nodes: int = 2) -> Path:
    """Write a job with samples and return its folder, which looks as if nobody had touched it for a while."""
    hosts = [Resource(f"n{number:02d}") for number in range(1, nodes + 1)]
    data = SyntheticSource().load(JobInfo(key.cluster, "main", key.job_id, START, START + 900, hosts, nodes), CLUSTER)
    meta = {
        "jobId": key.job_id,
        "cluster": key.cluster,
        "startTime": key.start_time,
        "jobState": "completed",
        "resources": [{"hostname": host.hostname} for host in hosts],
        "statistics": job_statistics(data, CLUSTER),
    }
    store.write_job(key, json.dumps(meta).encode(), encode_data(data))
    return settle(job_folder(store.root, key))


def settle(folder: Path) -> Path:
    """Let a folder look as if nobody had touched it for an hour."""
    os.utime(folder, (START, START))
    return folder


def check(store: ArchiveStore, cluster: str | None = None) -> list[Finding]:
    """Check the whole archive with one process."""
    reports = ArchiveCheck(store.root, cluster, processes=1).run()
    return sorted((finding for report in reports for finding in report.findings), key=lambda each: str(each.path))


def codes(store: ArchiveStore) -> list[Code]:
    """Return the kinds of what is found."""
    return [finding.code for finding in check(store)]


def only(store: ArchiveStore, code: Code) -> Finding:
    """Return the finding, of this kind, which must be the only one."""
    findings = check(store)
    assert [finding.code for finding in findings] == [code], findings
    return findings[0]


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON file, compressed or not."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt") as file:
        document = json.load(file)
    change(document)
    with opener(path, "wt") as file:
        json.dump(document, file)


def set_series(store: ArchiveStore, *lists: list[float | None], duration: int = 2400, scope: str = "node") -> Path:
    """Write a job whose metric cpu_load has these samples, each on a host of its own, and return its folder."""
    data = {
        "cpu_load": {
            scope: MetricData(
                {"base": ""},
                60,
                [Series(f"n{number:02d}", None, np.array(each, float)) for number, each in enumerate(lists, start=1)],
            )
        }
    }
    meta = {
        "jobId": KEY.job_id,
        "cluster": KEY.cluster,
        "subCluster": "main",
        "startTime": KEY.start_time,
        "duration": duration,
        "statistics": job_statistics(data, CLUSTER),
    }
    store.write_job(KEY, json.dumps(meta).encode(), encode_data(data))
    return settle(job_folder(store.root, KEY))
