"""Measure rebuild_jobs and import_jobs on archives of copies of one job.

    python -m benchmarks.rebuild [--rebuild 5000] [--large 100000] [--import 400] [--job FOLDER]

Makes the archives in a temporary folder and works on the database of DATABASE_URL, which must be empty; without one, on
SQLite in that folder. Prints the rate of the rebuild, the peak memory of all its processes together at both sizes, the
rate of the import, that of a plain loop (gzip, json, Model.objects.create for the same jobs, no file copied or
flushed), and their ratio. The jobs are copies of a synthetic one of 32 nodes, or of the one in FOLDER.
"""

import argparse
import contextlib
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import django
import psutil
from django.apps import apps
from django.core.management import call_command
from django.db import connection

from benchmarks import guard

ROOT = Path(__file__).resolve().parent.parent
_FIRST = 1_000_000
_START = 1_700_000_000


def synthetic_job() -> tuple[dict[str, Any], bytes]:
    """Return meta.json and data.json.gz of a job of 32 nodes, 9 metrics, 4 hours."""
    hosts = [f"n{number:03}" for number in range(1, 33)]
    metrics = [f"metric{number}" for number in range(9)]
    unit = {"base": "B/s", "prefix": "G"}
    numbers = {"min": 0.25, "avg": 31.625, "max": 99.75}
    meta: dict[str, Any] = {
        "user": "ada",
        "project": "fluids",
        "cluster": "copies",
        "subCluster": "main",
        "partition": "main",
        "numNodes": len(hosts),
        "exclusive": 1,
        "jobState": "completed",
        "duration": 14_400,
        "walltime": 86_400,
        "tags": [{"type": "perf", "name": "good"}],
        "resources": [{"hostname": host} for host in hosts],
        "metaData": {"jobName": "copy", "jobScript": "#SBATCH --nodes=32\n" * 40},
        "startTime": _START,
        "statistics": {name: {"unit": unit, **numbers} for name in metrics},
    }
    data = {
        name: {
            "node": {
                "unit": unit,
                "timestep": 60,
                "series": [
                    {"hostname": host, "statistics": numbers, "data": [(step * 37 % 9973) / 100 for step in range(240)]}
                    for host in hosts
                ],
            }
        }
        for name in metrics
    }
    return meta, gzip.compress(json.dumps(data).encode())


def write_archive(root: Path, number: int, job: tuple[dict[str, Any], bytes], *, with_data: bool) -> None:
    """Write an archive of copies of a job, with consecutive ids."""
    meta, data = job
    root.mkdir()
    (root / "version.txt").write_text("1\n")
    for job_id in range(_FIRST, _FIRST + number):
        folder = root / meta["cluster"] / str(job_id // 1000) / f"{job_id % 1000:03}" / str(meta["startTime"])
        folder.mkdir(parents=True)
        (folder / "meta.json").write_text(json.dumps(meta | {"jobId": job_id}))
        if with_data:
            (folder / "data.json.gz").write_bytes(data)


def command(name: str, *arguments: str) -> None:
    """Run a command of manage.py, or `empty` or `plain`, in this process; print its seconds."""
    django.setup()
    if name == "migrate":
        guard.require_empty()
    begin = time.perf_counter()
    if name == "empty":
        empty()
    elif name == "plain":
        plain_loop(Path(arguments[0]))
    else:
        call_command(name, *arguments, verbosity=0)
    print(time.perf_counter() - begin)


def empty() -> None:
    """Delete all jobs and tags."""
    with connection.cursor() as cursor:
        for table in ("jobs_jobtag", "jobs_archivetask", "jobs_job", "jobs_tag"):
            cursor.execute(f'DELETE FROM "{table}"')  # noqa: S608  names from the line above


def plain_loop(root: Path) -> None:
    """Do what comes first to mind: decode both files of each job, create its row."""
    job_model = apps.get_model("jobs", "Job")
    for path in sorted(root.glob("*/*/*/*/meta.json")):
        meta = json.loads(path.read_bytes())
        with gzip.open(path.with_name("data.json.gz")) as file:
            json.load(file)
        job_model.objects.create(
            job_id=meta["jobId"],
            cluster=meta["cluster"],
            sub_cluster=meta["subCluster"],
            partition=meta.get("partition", ""),
            user=meta["user"],
            project=meta["project"],
            num_nodes=meta["numNodes"],
            exclusive=meta["exclusive"],
            monitoring_status=3,
            job_state=meta["jobState"],
            start_time=meta["startTime"],
            duration=meta["duration"],
            walltime=meta.get("walltime", 0),
            resources=json.dumps(meta["resources"]),
            statistics=json.dumps(meta["statistics"]),
            meta_data=json.dumps(meta.get("metaData")),
        )


def run(archive: Path, *arguments: object) -> tuple[float, float]:
    """Run a command in a process of its own; return its seconds, and the peak memory (MB) of it and its children."""
    line = [sys.executable, "-m", "benchmarks.rebuild", "--command", *map(str, arguments)]
    environment = os.environ | {"ARCHIVE_ROOT": str(archive)}
    with subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        watched, peak = psutil.Process(process.pid), 0.0
        while process.poll() is None:
            peak = max(peak, memory(watched))
            time.sleep(0.1)
        answer = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise SystemExit(f"{' '.join(line)}: exit status {process.returncode}")
    return float(answer), peak


def memory(process: psutil.Process) -> float:
    """Return the memory of a process and its children (MB); what they share counts once."""
    with contextlib.suppress(psutil.Error):
        return sum(member.memory_full_info().pss for member in [process, *process.children(recursive=True)]) / 1e6
    return 0.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rebuild", type=int, default=5000, help="jobs of the smaller rebuild")
    parser.add_argument("--large", type=int, default=100_000, help="jobs of the larger one")
    parser.add_argument("--import", type=int, default=400, dest="imported", help="jobs that are imported")
    parser.add_argument("--job", type=Path, metavar="FOLDER", help="a job's folder, with meta.json and data.json.gz")
    parser.add_argument("--command", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.command:
        command(*options.command)
        return
    job = synthetic_job()
    if options.job:
        job = json.loads((options.job / "meta.json").read_bytes()), (options.job / "data.json.gz").read_bytes()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        os.environ.setdefault("DATABASE_URL", f"sqlite:///{folder}/benchmark.sqlite3")
        ours = folder / "ours"
        run(ours, "migrate")
        for number in (options.rebuild, options.large):
            archive = folder / f"archive-{number}"
            write_archive(archive, number, job, with_data=False)
            seconds, peak = run(archive, "rebuild_jobs")
            print(f"rebuild of {number} jobs: {number / seconds:.0f} per second, peak memory {peak:.0f} MB", flush=True)
            run(archive, "empty")
        theirs = folder / "theirs"
        write_archive(theirs, options.imported, job, with_data=True)
        seconds, peak = run(ours, "import_jobs", theirs)
        rate = options.imported / seconds
        size = len(job[1]) / 1e3
        print(f"import of {options.imported} jobs with {size:.0f} kB: {rate:.1f} per second, peak memory {peak:.0f} MB")
        run(ours, "empty")
        seconds, _ = run(ours, "plain", theirs)
        plain = options.imported / seconds
        print(f"plain loop over the same: {plain:.1f} per second; the import is {rate / plain:.1f} times as fast")


if __name__ == "__main__":
    main()
