"""Synthetic data for `make run`: a cluster, and jobs of several users and projects from the last seven days."""

import itertools
import logging
import random
import time
from typing import Any

import msgspec
from django.db import connection

from accounts.models import User
from archive import root
from archive.storage import removal
from archive.storage.store import ArchiveStore
from jobs.deletion.services import delete_jobs
from jobs.intake.services import start_job, stop_job
from jobs.messages import Resource, StartJob, TagName
from jobs.models import Job
from jobs.tags.services import tag_job

CLUSTER = "demo"

_FAR_AWAY = 2**40  # epoch seconds after every start and end
_LOG = logging.getLogger(__name__)
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


class DemoError(Exception):
    """The database or the archive holds other data, so demo data must not be added to it."""


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


def require_empty() -> None:
    """Raise DemoError unless the database has no users and no jobs, and the archive no clusters and no jobs.

    Called before the migrations run, so a database without our tables is empty only if it has no tables at all.
    """
    tables = set(connection.introspection.table_names())
    for model in (User, Job):
        if model._meta.db_table in tables:
            if model._default_manager.exists():
                raise DemoError(f"the database has {model._meta.verbose_name_plural} that are no demo data")
        elif tables - {"django_migrations"}:
            raise DemoError("the database has tables of another program")
    store = root.store()
    if store.root.exists() and (store.clusters() or store.holds_jobs()):
        raise DemoError(f"the job archive {store.root} has clusters or jobs that are no demo data")


def write_cluster(store: ArchiveStore) -> None:
    """Write the demo cluster's cluster.json to the archive, unless it is there."""
    store.prepare()
    if CLUSTER not in store.clusters():
        store.write_cluster(CLUSTER, cluster_document())


def create_jobs(count: int = 210) -> None:
    """Start jobs on each of the last seven days through the services, stop most of them, and tag some."""
    dice = random.Random(_SEED)  # noqa: S311  demo data, no secret
    now = int(time.time())
    tomorrow = (now // _DAY + 1) * _DAY
    days = [(tomorrow - (back + 1) * _DAY, tomorrow - back * _DAY) for back in range(6, -1, -1)]
    for number in range(count):
        finished = number >= count // 10
        begin, end = days[number % len(days)] if finished else (now - 6 * 3600, now)
        start = dice.randint(begin, max(begin, min(end, now - 120) - 1))
        row_id = start_job(job=_job(dice, 100_000 + number, start))
        if finished:
            stop = dice.randint(min(start + 60, now), min(now, start + _DAY))
            stop_job(row_id=row_id, stop_time=stop, job_state=dice.choice(_FINAL))
        if dice.random() < 0.2:
            type_, name = dice.choice(_TAGS)
            tag_job(row_id=row_id, tags=[TagName(type=type_, name=name)])


def clear() -> int:
    """Delete all jobs of the demo cluster from database and archive, and return the number of deleted rows."""
    row_ids = list(Job.objects.filter(cluster=CLUSTER).values_list("pk", flat=True))
    deleted = delete_jobs(row_ids=row_ids)
    store = root.store()
    for found in removal.find(store, before=_FAR_AWAY, cluster=CLUSTER, trouble=_LOG.warning):
        removal.remove_folder(found.folder if found.removed else removal.hide(store, found.key))
    removal.remove_empty_folders(store, CLUSTER)
    return deleted


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
