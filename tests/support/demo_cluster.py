"""The cluster demo, whose samples the tests of metric sources load."""

import copy
from typing import Any


def metric(name: str, scope: str, aggregation: str = "sum", **more: Any) -> dict[str, Any]:
    """Return an entry of metricConfig."""
    entry = {"name": name, "unit": {"base": "B/s", "prefix": "G"}, "scope": scope, "aggregation": aggregation}
    return {**entry, "timestep": 60, "peak": 100, "normal": 50, "caution": 20, "alert": 10, **more}


MAIN: dict[str, Any] = {
    "name": "main",
    "nodes": "n[01-99]",
    "topology": {
        "node": list(range(8)),
        "socket": [[0, 1, 4, 5], [2, 3, 6, 7]],
        "memoryDomain": [[0, 1, 4, 5], [2, 3, 6, 7]],
        "core": [[0, 4], [1, 5], [2, 6], [3, 7]],
        "accelerators": [{"id": "00:01", "type": "GPU", "model": "A40"}],
    },
}
"""A subcluster: two sockets of two cores with two hwthreads each, and a GPU."""

DEMO: dict[str, Any] = {
    "name": "demo",
    "metricConfig": [
        {
            "name": "cpu_load",
            "unit": {"base": ""},
            "scope": "node",
            "aggregation": "avg",
            "timestep": 60,
            "peak": 4,
            "normal": 4,
            "caution": 2,
            "alert": 1,
            "subClusters": [
                {"name": "gpu", "peak": 8, "normal": 8.5, "remove": False},
                {"name": "old", "remove": True},
            ],
        }
    ],
    "subClusters": [
        {
            "name": "main",
            "nodes": "n[01-16],login1",
            "processorType": "X",
            "socketsPerNode": 1,
            "topology": {
                "node": [0, 1, 2, 3],
                "socket": [[0, 1], [2, 3]],
                "memoryDomain": [[0, 1, 2, 3]],
                "core": [[0, 2], [1, 3]],
                "accelerators": [{"id": "00:01", "type": "GPU", "model": "A40"}],
            },
        },
        {"name": "gpu", "nodes": "*"},
    ],
}
"""A cluster.json of two subclusters, one of which is the rest."""


def changed(**keys: Any) -> dict[str, Any]:
    """Return the demo cluster with other top-level keys."""
    return {**copy.deepcopy(DEMO), **keys}
