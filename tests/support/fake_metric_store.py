"""A cc-metric-store on loopback that knows every host, and the cluster it has metrics of."""

import json
from typing import Any

import numpy as np

from tests.support.demo_cluster import MAIN, metric
from tests.support.http_store import LoopbackServer

METRICS = [
    metric("load", "node", "avg"),
    metric("flops", "hwthread"),
    metric("clock", "core", "avg"),
    metric("power", "socket", timestep=30),
    metric("mem_bw", "memoryDomain"),
    metric("acc_used", "accelerator", "avg"),
    metric("gone", "node", subClusters=[{"name": "main", "remove": True}]),
]
CLUSTER_JSON: dict[str, Any] = {
    "name": "demo",
    "metricConfig": METRICS,
    "subClusters": [MAIN, {"name": "bare", "nodes": "b[01-99]"}],
}
AGGREGATION = {entry["name"]: entry["aggregation"] for entry in METRICS}
TIMESTEP = {entry["name"]: entry["timestep"] for entry in METRICS}


NOT_ALIGNED = {
    "0.0.1": "data from lower granularities does not align",
    "0.1.1": "data from lower granularities does not align",
    "1.5.4": "[METRICSTORE]> data from lower granularities does not align (missing data prior to start of the buffers)",
}
"""The error of each release for units that begin at different times."""


def level(name: str, host: str, unit: str = "") -> float:
    """Return what the fake store says of one unit; each sample adds its number."""
    return float(sum(map(ord, name + host)) + 1000 * int(unit.replace(":", "") or "0"))


def failed(reason: str) -> dict[str, Any]:
    """Return the entry of a query that failed."""
    return {"error": reason, "from": 0, "to": 0, "resolution": 0, "avg": 0, "min": 0, "max": 0}


class FakeStore(LoopbackServer):
    """A store that knows every host, and answers as releases 0.0.1, 0.1.1 and 1.5.4 of the real one were seen to.

    - Queries come with GET; POST is refused from release 0.1 on.
    - Unless told not to, it pads: nulls from the asked start on, while `from` stays at the first sample.
    - A sum or an average of units that begin at different times (`begins`) begins with the first one of the query; it
      is an error if another one begins later.
    - What has no data (`absent_hosts`, `silent`) is left out of the answer by release 1.5, and an error in 0.x. A sum
      or an average is that of the units which have data.
    - A metric that the store does not know (`refused`) is an error in each release.
    """

    def __init__(self, release: str = "1.5.4") -> None:
        super().__init__()
        self.release = release
        self.methods = ("GET", "POST") if release.startswith("0.0.") else ("GET",)
        self.requests: list[dict[str, Any]] = []
        self.absent_hosts: set[str] = set()
        self.silent: set[tuple[str, str, str]] = set()
        self.all_null: set[tuple[str, str]] = set()
        self.refused: set[tuple[str, str]] = set()
        self.gaps: set[int] = set()
        self.late = 0
        self.begins: dict[tuple[str, str, str], int] = {}

    def body(self, request: bytes) -> bytes:
        """Return the body of the answer to a request."""
        self.requests.append(json.loads(request))
        return json.dumps(self.answer(self.requests[-1])).encode()

    @property
    def queries(self) -> list[dict[str, Any]]:
        """All queries so far."""
        return [query for request in self.requests for query in request["queries"]]

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a request."""
        assert request["with-data"]
        assert request["with-stats"]
        return {"results": [self._result(request, query) for query in request["queries"]]}

    def _result(self, request: dict[str, Any], query: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the answer to a query: the series of a host, of each of its units, or of all of them together."""
        units = query.get("type-ids", [""])
        groups = [units] if query["aggreg"] else [[unit] for unit in units]
        return [series for group in groups for series in self._series(request, query, group)]

    def _series(self, request: dict[str, Any], query: dict[str, Any], units: list[str]) -> list[dict[str, Any]]:
        """Return the series of some units together, or what stands in its place: an error, or nothing."""
        name, host = query["metric"], query["host"]
        if (name, host) in self.refused:
            return [failed(f"[METRICSTORE]> unknown metric: {name}")]
        there = [unit for unit in units if host not in self.absent_hosts and (name, host, unit) not in self.silent]
        if not there:
            return [failed("metric or host not found")] if self.release.startswith("0.") else []
        begins = [request["from"] + self.begins.get((name, host, unit), self.late) for unit in there]
        begin = begins[0]
        if begin < max(begins):
            return [failed(NOT_ALIGNED[self.release])]
        steps = max(0, request["to"] - begin) // TIMESTEP[name]
        padded = request.get("with-padding", True)
        padding = begin // TIMESTEP[name] - request["from"] // TIMESTEP[name] if padded else 0
        firsts = [(begin - other) // TIMESTEP[name] for other in begins]
        table = np.array(
            [
                [level(name, host, unit) + first + step for step in range(steps)]
                for unit, first in zip(there, firsts, strict=True)
            ]
        )
        row = table.sum(axis=0) if AGGREGATION[name] == "sum" else table.mean(axis=0)
        data = [*[None] * padding, *self._with_gaps(row, (name, host))]
        return [{"from": begin, "to": request["to"], "data": data, "avg": 1, "min": 1, "max": 1}]

    def _with_gaps(self, row: Any, of: tuple[str, str]) -> list[float | None]:
        none = of in self.all_null
        return [None if none or step in self.gaps else value for step, value in enumerate(row.tolist())]
