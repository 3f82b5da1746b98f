"""Rebuild the job table beside cc-backend: both from the same archive, in turn; see docs/performance.md.

    python -m benchmarks.rebuild_beside CC_BACKEND [--jobs 200000] [--rounds 3]

CC_BACKEND is the program of a release with archives of version 1, such as 1.2.2; its -init-db fills a new SQLite
database. Ours is rebuild_jobs, on new SQLite databases too, or on the PostgreSQL of DATABASE_URL, which must be empty.
Prints jobs per second, with the start of all processes: until all rows are there, which is all that cc-backend brings
back, and until nodes, footprints and usage are written down; and both as multiples of cc-backend's rate.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.rebuild import ROOT, synthetic_job, write_archive

_UNIT = {"base": "F/s", "prefix": "G"}
_LIMITS = {"peak": 200, "normal": 100, "caution": 20, "alert": 10}
_METRIC = {"unit": _UNIT, "scope": "node", "aggregation": "avg", "timestep": 60, "subClusters": [], **_LIMITS}
_SUBCLUSTER = {
    "name": "main",
    "nodes": "n[001-032]",
    "processorType": "none",
    "socketsPerNode": 1,
    "coresPerSocket": 1,
    "threadsPerCore": 1,
    **{name: {"unit": _UNIT, "value": 1} for name in ("flopRateScalar", "flopRateSimd", "memoryBandwidth")},
    "topology": {"node": [0], "socket": [[0]], "memoryDomain": [[0]], "core": [[0]]},
}
_RANGES = {
    "numNodes": {"from": 1, "to": 64},
    "duration": {"from": 0, "to": 86_400},
    "startTime": {"from": "2022-01-01T00:00:00Z", "to": None},
}


def prepare(folder: Path, number: int) -> Path:
    """Write an archive with the cluster.json that cc-backend needs, and return it; its files are in memory then."""
    archive, job = folder / "archive", synthetic_job()
    write_archive(archive, number, job, with_data=False)
    name, metrics = job[0]["cluster"], [{"name": metric, **_METRIC} for metric in job[0]["statistics"]]
    cluster = {"name": name, "metricConfig": metrics, "subClusters": [_SUBCLUSTER]}
    (archive / name / "cluster.json").write_text(json.dumps(cluster))
    return archive


def of_cc_backend(program: Path, archive: Path) -> float:
    """Let cc-backend rebuild; return its seconds."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        store = {"kind": "test", "url": "http://127.0.0.1:1"}
        config = {
            "addr": "127.0.0.1:1",
            "disable-authentication": True,
            "db": f"{name}/job.db",
            "archive": {"kind": "file", "path": str(archive)},
            "jwts": {"max-age": "2000h"},
            "clusters": [{"name": "copies", "metricDataRepository": store, "filterRanges": _RANGES}],
        }
        Path(name, "config.json").write_text(json.dumps(config))
        Path(name, ".env").touch()
        subprocess.run([program, "-migrate-db"], cwd=name, check=True, capture_output=True)
        begin = time.perf_counter()
        subprocess.run([program, "-init-db"], cwd=name, check=True, capture_output=True)
        return time.perf_counter() - begin


def of_ours(archive: Path, number: int) -> list[float]:
    """Rebuild; return the seconds until all rows were there, and until all else was, too."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        environment = {
            "DATABASE_URL": f"sqlite:///{name}/benchmark.sqlite3",
            **os.environ,
            "ARCHIVE_ROOT": str(archive),
            "PYTHONUNBUFFERED": "1",
        }
        manage: dict[str, Any] = {"cwd": ROOT, "env": environment, "text": True}
        subprocess.run([sys.executable, "manage.py", "migrate", "-v", "0"], check=True, **manage)
        begin = time.perf_counter()
        line = [sys.executable, "manage.py", "rebuild_jobs"]
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **manage) as process:
            assert process.stdout is not None
            said = [(time.perf_counter() - begin, text) for text in process.stdout]
        expected = [f"{number:,} jobs restored, 0 there already, 0 refused.\n", f"{number:,} jobs indexed.\n"]
        if [text for _, text in said] != expected:
            sys.exit(f"rebuild_jobs said {[text for _, text in said]}, expected {expected}")
        if "DATABASE_URL" in os.environ:
            subprocess.run([sys.executable, "manage.py", "flush", "--no-input", "-v", "0"], check=True, **manage)
        return [seconds for seconds, _ in said]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path, metavar="CC_BACKEND")
    parser.add_argument("--jobs", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if not os.environ.get("DATABASE_URL", "postgres").startswith("postgres"):
        sys.exit("Refused: DATABASE_URL must name an empty PostgreSQL database; without one, SQLite is measured.")
    program, ratios = options.program.resolve(), []
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        archive = prepare(Path(name), options.jobs)
        of_cc_backend(program, archive)  # reads all files, and nothing is compiled or cold after these two
        of_ours(archive, options.jobs)
        for number in range(options.rounds):
            if number % 2:
                ours, theirs = of_ours(archive, options.jobs), of_cc_backend(program, archive)
            else:
                theirs, ours = of_cc_backend(program, archive), of_ours(archive, options.jobs)
            ratios.append([theirs / seconds for seconds in ours])
            rows, everything, other = (round(options.jobs / seconds, -1) for seconds in (*ours, theirs))
            print(f"rows {rows:,.0f}/s, all {everything:,.0f}/s, cc-backend {other:,.0f}/s", flush=True)
    for what, found in zip(("rows", "all"), zip(*ratios, strict=True), strict=True):
        print(f"{what}: {statistics.median(found):.2f} times cc-backend ({min(found):.2f} to {max(found):.2f})")


if __name__ == "__main__":
    main()
