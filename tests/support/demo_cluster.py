"""The cluster demo, whose samples the tests of metric sources load."""

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
