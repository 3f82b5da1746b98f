"""Synthetic data of `make run`: a cluster, and jobs of several users and projects over the last days."""

import itertools
import random
import time
from typing import Any

import msgspec

from archive.storage.store import ArchiveStore
from jobs.intake.services import start_job, stop_job
from jobs.messages import Resource, StartJob, TagName
from jobs.tags.services import tag_job

CLUSTER = "demo"

_SEED = 2026
_DAY = 86_400
_OWNERS = [("ada", "fluids"), ("grace", "fluids"), ("emmy", "lattice"), ("sofia", "lattice"), ("maria", "genomes")]
_PROGRAMS = ["turbulence", "assembly", "annealing", "alignment", "rendering"]
_TAGS = [("perf", "good"), ("perf", "bad"), ("review", "ask-user")]
_FINAL = ["completed"] * 12 + ["failed"] * 3 + ["timeout", "cancelled", "out_of_memory", "node_fail"]

_METRICS: list[tuple[str, str, str, str, str, float]] = [
    ("cpu_load", "", "", "node", "avg", 16),
    ("cpu_user", "%", "", "hwthread", "avg", 100),
    ("flops_any", "F/s", "G", "hwthread", "sum", 800),
    ("mem_bw", "B/s", "G", "socket", "sum", 150),
    ("mem_used", "B", "G", "node", "sum", 128),
    ("net_bw", "B/s", "M", "node", "sum", 12_000),
    ("cpu_power", "W", "", "socket", "sum", 400),
]


def cluster_document() -> bytes:
    """Return cluster.json of the demo cluster: 32 nodes with two sockets of eight cores, and a login node."""
    hwthreads = list(range(16))
    sockets = [hwthreads[:8], hwthreads[8:]]
    document: dict[str, Any] = {
        "name": CLUSTER,
        "metricConfig": [
            {
                "name": name,
                "unit": {"base": base, "prefix": prefix} if prefix else {"base": base},
                "scope": scope,
                "aggregation": aggregation,
                "timestep": 60,
                "peak": peak,
                "normal": peak * 0.6,
                "caution": peak * 0.2,
                "alert": peak * 0.05,
            }
            for name, base, prefix, scope, aggregation, peak in _METRICS
        ],
        "subClusters": [
            {
                "name": "main",
                "nodes": "n[01-32],login1",
                "processorType": "generic",
                "socketsPerNode": 2,
                "coresPerSocket": 8,
                "threadsPerCore": 1,
                "flopRateScalar": {"unit": {"base": "F/s", "prefix": "G"}, "value": 50},
                "flopRateSimd": {"unit": {"base": "F/s", "prefix": "G"}, "value": 800},
                "memoryBandwidth": {"unit": {"base": "B/s", "prefix": "G"}, "value": 150},
                "topology": {
                    "node": hwthreads,
                    "socket": sockets,
                    "memoryDomain": sockets,
                    "core": [[number] for number in hwthreads],
                },
            }
        ],
    }
    return msgspec.json.encode(document)


def write_cluster(store: ArchiveStore) -> None:
    """Put the demo cluster's cluster.json into the archive, unless it is there."""
    store.prepare()
    if CLUSTER not in store.clusters():
        store.write_cluster(CLUSTER, cluster_document())


def create_jobs(count: int = 150) -> None:
    """Start jobs over the last four days through the services, stop most of them, and tag some."""
    dice = random.Random(_SEED)  # noqa: S311  demo data, no secret
    now = int(time.time())
    for number in range(count):
        finished = number >= count // 8
        ago = int(dice.paretovariate(1) * 1800) % (4 * _DAY) + 900 if finished else dice.randint(60, 6 * 3600)
        start = now - ago
        row_id = start_job(job=_job(dice, 100_000 + number, start))
        if finished:
            state = dice.choice(_FINAL)
            stop_job(row_id=row_id, stop_time=dice.randint(start + 60, min(now, start + _DAY)), job_state=state)
        if dice.random() < 0.2:
            type_, name = dice.choice(_TAGS)
            tag_job(row_id=row_id, tags=[TagName(type=type_, name=name)])


def _job(dice: random.Random, job_id: int, start: int) -> StartJob:
    user, project = dice.choice(_OWNERS)
    program = dice.choice(_PROGRAMS)
    nodes = dice.choice([1, 1, 1, 2, 4, 8, 16])
    first = dice.randint(1, 33 - nodes)
    hosts = [f"n{number:02}" for number in itertools.islice(itertools.count(first), nodes)]
    script = f"#!/bin/bash\n#SBATCH --job-name={program}\n#SBATCH --nodes={nodes}\nsrun ./{program} --input case.dat\n"
    return StartJob(
        job_id=job_id,
        user=user,
        project=project,
        cluster=CLUSTER,
        partition=dice.choice(["main", "main", "short"]),
        num_nodes=nodes,
        num_hwthreads=16 * nodes,
        start_time=start,
        walltime=dice.choice([3600, 6 * 3600, _DAY]),
        resources=[Resource(hostname=host) for host in hosts],
        meta_data={"jobName": program, "jobScript": script, "slurmInfo": f"JobId={job_id}\nJobName={program}\n"},
    )
