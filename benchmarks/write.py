"""Time the writing of one large archived job against the same by the standard library. See docs/performance.md.

    python -m benchmarks.write [--rounds 5] [--nodes 64] [--metrics 20] [--samples 1440]

Prints medians of rounds in which all ways take turns: ArchiveStore.write_job with everything that the worker does
between the samples' arrival and the files on disk (statistics, encoding, gzip, flushed to disk); orjson's encoding and
isal's compression of the same document alone; json.dumps, gzip at level 9 and the statistics module.
"""

import argparse
import copy
import gzip
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from django.conf import settings
from isal import igzip

from archive.format.data_json import JobData, MetricData, Series, encode_data, job_statistics
from archive.format.layout import JobKey
from archive.storage.store import COMPRESSION_LEVEL, ArchiveStore


def samples(nodes: int, metrics: int, length: int) -> JobData:
    """Return samples as a monitored job has them: two decimals, slow changes, and some that are missing."""
    random = np.random.default_rng(1)
    data: JobData = {}
    for number in range(metrics):
        series = []
        for node in range(nodes):
            values = np.round(50 + 10 * np.sin(np.arange(length) / 90) + random.normal(0, 5, length), 2)
            values[random.random(length) < 0.01] = np.nan
            series.append(Series(f"n{node:03}", None, values))
        data[f"metric{number:02}"] = {"node": MetricData({"base": "B/s", "prefix": "G"}, 60, series)}
    return data


def ours(data: JobData, store: ArchiveStore) -> None:
    """Write the job as the archive worker does."""
    meta = orjson.dumps({"jobId": 1, "statistics": job_statistics(data, None)})
    store.write_job(JobKey("demo", 1, 1_700_000_000), meta, encode_data(data))


def standard_library(lists: dict[str, dict[str, list[float | None]]], folder: Path) -> None:
    """Write the same document without libraries."""
    document: dict[str, Any] = {}
    for metric, hosts in lists.items():
        series = []
        for host, values in hosts.items():
            present = [value for value in values if value is not None]
            numbers = {"min": min(present), "avg": statistics.fmean(present), "max": max(present)}
            series.append({"hostname": host, "statistics": numbers, "data": values})
        steps = [[value for value in step if value is not None] for step in zip(*hosts.values(), strict=True)]
        over_time = {
            name: [function(step) if step else None for step in steps]
            for name, function in (("min", min), ("mean", statistics.fmean), ("max", max))
        }
        metric_data = {"unit": {"base": "B/s", "prefix": "G"}, "timestep": 60, "series": series}
        document[metric] = {"node": metric_data | {"statisticsSeries": over_time}}
    (folder / "data.json.gz").write_bytes(gzip.compress(json.dumps(document).encode(), 9))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--metrics", type=int, default=20)
    parser.add_argument("--samples", type=int, default=1440)
    options = parser.parse_args()
    settings.configure(METRIC_BLANKS=(2.0**31 - 16, 2.0**47, 2.0**47 * 100, 2.0**63))
    data = samples(options.nodes, options.metrics, options.samples)
    plain = encode_data(copy.deepcopy(data))
    document = orjson.loads(plain)
    arrays = {
        name: scopes
        | {"node": scopes["node"] | {"series": [{"data": series.data} for series in data[name]["node"].series]}}
        for name, scopes in document.items()
    }
    lists = {
        name: {series["hostname"]: series["data"] for series in scopes["node"]["series"]}
        for name, scopes in document.items()
    }
    times: dict[str, list[float]] = {}

    def measure(name: str, work: Callable[[], Any]) -> None:
        begin = time.perf_counter()
        work()
        times.setdefault(name, []).append(time.perf_counter() - begin)

    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        store = ArchiveStore(Path(folder) / "archive")
        store.prepare()
        for number in range(options.rounds):
            fresh = copy.deepcopy(data)  # statistics are computed once per object
            measure("ours, on disk", partial(ours, fresh, store))
            measure("orjson alone", lambda: orjson.dumps(arrays, option=orjson.OPT_SERIALIZE_NUMPY))
            measure("isal alone", lambda: igzip.compress(plain, COMPRESSION_LEVEL))
            if number < 2:
                measure("standard library", lambda: standard_library(lists, Path(folder)))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, value in medians.items():
        print(f"{name:<18}{value * 1000:9.1f} ms")
    alone = medians["orjson alone"] + medians["isal alone"]
    print(
        f"{len(plain) / 1e6:.1f} MB of JSON; ours takes {medians['ours, on disk'] / alone:.2f} times orjson and isal,"
    )
    print(f"and {medians['standard library'] / medians['ours, on disk']:.0f} times as fast as the standard library")


if __name__ == "__main__":
    main()
