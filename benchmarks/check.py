"""Measure how fast check_archive is, beside only reading and unpacking the same files. See docs/performance.md.

    python -m benchmarks.check [--rounds 5] [--small 800] [--large 24] [--processes N]

Makes an archive in a temporary folder: jobs of 4 nodes and 1 hour, and jobs of 64 nodes and 24 hours, with 14 metrics
from the synthetic source. Both ways walk the same folders with the same processes, alternately; the time that these
take to start is not counted. Prints medians: jobs and MB of JSON per second, and the share of the one in the other.
"""

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson

from archive.check.job import JobChecker
from archive.check.walk import ArchiveCheck, Report, check_job_id
from archive.format.cluster_json import Cluster, MetricConfig, SubCluster, Topology
from archive.format.data_json import encode_data, job_statistics
from archive.format.layout import JobKey
from archive.format.meta_json import Resource
from archive.format.nodelist import NodeList
from archive.sources.base import JobInfo
from archive.sources.synthetic import SyntheticSource
from archive.storage.store import ArchiveStore

START = 1_700_000_000
KINDS = {"small": (4, 3600), "large": (64, 86_400)}  # nodes and seconds
DISTINCT = 4  # jobs of a kind that are drawn; the others are copies under their own ids
CORES = 16
TOPOLOGY = Topology(
    node=tuple(range(CORES)),
    socket=(tuple(range(8)), tuple(range(8, CORES))),
    core=tuple((number,) for number in range(CORES)),
)
METRICS = [
    ("cpu_load", "node", 16.0),
    ("cpu_user", "hwthread", 100.0),
    ("flops_any", "hwthread", 800.0),
    ("mem_bw", "socket", 150.0),
    ("mem_used", "node", 128.0),
    ("net_bw", "node", 12_000.0),
    ("cpu_power", "socket", 400.0),
]


def make_cluster(name: str) -> Cluster:
    """Return a cluster of 64 nodes with two sockets of eight cores, and 14 metrics."""
    metrics = [
        MetricConfig(f"{metric}{suffix}", {"base": ""}, scope, "avg", 60, peak, peak * 0.6, peak * 0.2, peak * 0.05)
        for suffix in ("", "_2")
        for metric, scope, peak in METRICS
    ]
    nodes = NodeList.parse("n[01-64]")
    main = SubCluster("main", nodes, TOPOLOGY, "generic", 2, 8, 1, None, None, None)
    return Cluster(name, tuple(metrics), (main,))


def cluster_document(cluster: Cluster) -> bytes:
    """Return its cluster.json."""
    metrics = [
        {key: value for key, value in dataclasses.asdict(metric).items() if key != "overrides"}
        for metric in cluster.metrics
    ]
    document = {"name": cluster.name, "metricConfig": metrics, "subClusters": [{"name": "main", "nodes": "n[01-64]"}]}
    return orjson.dumps(document)


def make_jobs(store: ArchiveStore, kind: str, count: int) -> int:
    """Write jobs of a kind into a cluster of that name; return the bytes of JSON in one of them."""
    nodes, seconds = KINDS[kind]
    cluster = make_cluster(kind)
    store.write_cluster(kind, cluster_document(cluster))
    hosts = [Resource(f"n{number:02d}") for number in range(1, nodes + 1)]
    for first in range(1, DISTINCT + 1):
        info = JobInfo(kind, "main", first, START, START + seconds, hosts, nodes)
        data = SyntheticSource().load(info, cluster)
        text = encode_data(data)
        meta = {
            "user": "bench",
            "project": "bench",
            "cluster": kind,
            "subCluster": "main",
            "numNodes": nodes,
            "jobState": "completed",
            "duration": seconds,
            "resources": [{"hostname": host.hostname} for host in hosts],
            "metaData": {"jobName": "benchmark", "jobScript": "#!/bin/sh\n" * 200},
            "startTime": START,
            "statistics": job_statistics(data, cluster),
        }
        for job_id in range(first, count + 1, DISTINCT):
            store.write_job(JobKey(kind, job_id, START), orjson.dumps({"jobId": job_id, **meta}), text)
    return len(text) + len(store.read_meta(JobKey(kind, 1, START)))


def read_job_id(checker: JobChecker, folder: Path) -> Report:
    """Only read and unpack the files of a job id."""
    store = ArchiveStore(checker.root)
    report = Report(folders=1)
    for path in folder.iterdir():
        key = JobKey(folder.parent.parent.name, int(folder.parent.name) * 1000 + int(folder.name), int(path.name))
        store.read_meta(key)
        store.read_data(key)
        report.jobs.append(key)
    return report


def jobs_per_second(check: ArchiveCheck, way: Callable[[JobChecker, Path], Report]) -> float:
    """Return the rate from the first answer of a process to the last."""
    jobs, begin = 0, 0.0
    for report in check.run(way):
        if report.findings:
            raise SystemExit(f"found in an intact archive: {report.findings[0]}")
        if begin:
            jobs += len(report.jobs)
        begin = begin or time.perf_counter()
    return jobs / (time.perf_counter() - begin)


def rounds(check: ArchiveCheck, number: int) -> Iterator[tuple[float, float]]:
    """Yield the rates of reading and of checking, one after the other; the first round fills the cache."""
    for turn in range(number + 1):
        rates = jobs_per_second(check, read_job_id), jobs_per_second(check, check_job_id)
        if turn:
            yield rates


def main() -> None:
    """Make the archive, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", type=int, default=800, help="jobs of 4 nodes and 1 hour")
    parser.add_argument("--large", type=int, default=24, help="jobs of 64 nodes and 24 hours")
    parser.add_argument("--processes", type=int)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        store = ArchiveStore(Path(folder) / "archive")
        store.prepare()
        for kind in KINDS:
            size = make_jobs(store, kind, getattr(options, kind))
            check = ArchiveCheck(store.root, kind)
            if options.processes:
                check = dataclasses.replace(check, processes=options.processes)
            rates = list(rounds(check, options.rounds))
            reading, checking = (statistics.median(values) for values in zip(*rates, strict=True))
            share = statistics.median(checked / read for read, checked in rates)
            print(
                f"{kind}: {size / 1e6:.2f} MB of JSON a job, {check.processes} processes; "
                f"read {reading:.0f} jobs/s ({reading * size / 1e6:.0f} MB/s), "
                f"checked {checking:.0f} jobs/s ({checking * size / 1e6:.0f} MB/s), share {share:.2f} "
                f"({min(c / r for r, c in rates):.2f} to {max(c / r for r, c in rates):.2f})"
            )


if __name__ == "__main__":
    main()
