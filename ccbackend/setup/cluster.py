"""A first cluster.json from the kinds of nodes that a cluster has, for an operator to go on with."""

import json
import re
from collections.abc import Sequence
from typing import Any

from ccbackend.setup.hardware import Nodes, Processor

_TIMESTEP = 60  # seconds


def skeleton(name: str, kinds: Sequence[Nodes], processor: Processor) -> bytes:
    """Return a cluster.json with a subcluster for each kind of nodes; the processor's hwthreads hold where they fit."""
    names = _names_of(kinds)
    subclusters = [_subcluster(label, kind, processor) for label, kind in zip(names, kinds, strict=True)]
    document = {"name": name, "metricConfig": _metrics(names, kinds), "subClusters": subclusters}
    return (json.dumps(document, indent=2) + "\n").encode()


def _names_of(kinds: Sequence[Nodes]) -> list[str]:
    """Return a name for each kind: `main` for the only one, otherwise that of its first node without the number."""
    if len(kinds) == 1:
        return ["main"]
    names: list[str] = []
    for kind in kinds:
        stem = re.split(r"[\[\d,]", kind.names)[0].strip("-_.") or "nodes"
        number = 1
        while (label := stem if number == 1 else f"{stem}{number}") in names:
            number += 1
        names.append(label)
    return names


def _subcluster(label: str, kind: Nodes, processor: Processor) -> dict[str, Any]:
    known = processor.hwthreads if _fits(kind, processor) else _usual_hwthreads(kind)
    topology: dict[str, Any] = {
        "node": sorted(hwthread for hwthread, *_ in known),
        "socket": _units(known, 2),
        "memoryDomain": _units(known, 3),
        "core": _units(known, 1),
    }
    if kind.gpus:
        entry = {"type": "GPU", "model": kind.gpu_model}
        topology["accelerators"] = [{"id": str(number), **entry} for number in range(kind.gpus)]
    return {
        "name": label,
        "nodes": kind.names,
        "processorType": processor.name,
        "socketsPerNode": kind.sockets,
        "coresPerSocket": kind.cores,
        "threadsPerCore": kind.threads,
        "topology": topology,
    }


def _fits(kind: Nodes, processor: Processor) -> bool:
    counts = [len({each[place] for each in processor.hwthreads}) for place in (0, 1, 2)]
    return counts == [kind.sockets * kind.cores * kind.threads, kind.sockets * kind.cores, kind.sockets]


def _usual_hwthreads(kind: Nodes) -> list[tuple[int, int, int, int]]:
    """Number the hwthreads as Linux mostly does: the first of each core, then the second; a domain per socket."""
    cores = kind.sockets * kind.cores
    return [
        (hwthread, hwthread % cores, hwthread % cores // kind.cores, hwthread % cores // kind.cores)
        for hwthread in range(cores * kind.threads)
    ]


def _units(hwthreads: Sequence[tuple[int, int, int, int]], place: int) -> list[list[int]]:
    """Return the hwthreads of each core (1), socket (2) or memory domain (3)."""
    units: dict[int, list[int]] = {}
    for each in sorted(hwthreads):
        units.setdefault(each[place], []).append(each[0])
    return [units[number] for number in sorted(units)]


def _metrics(names: Sequence[str], kinds: Sequence[Nodes]) -> list[dict[str, Any]]:
    """Return metrics that every metric store has, with thresholds by the size of a node."""
    load = [float(kind.sockets * kind.cores) for kind in kinds]
    memory = [kind.memory / 1024 for kind in kinds]
    metrics = [
        _metric("cpu_load", {"base": ""}, names, load, caution=0.5, alert=0.1),
        _metric("cpu_user", {"base": "%"}, names, [100.0] * len(kinds), caution=0.5, alert=0.1),
    ]
    if all(memory):
        metrics.append(_metric("mem_used", {"base": "B", "prefix": "G"}, names, memory, caution=0.9, alert=0.97))
    if any(kind.gpus for kind in kinds):
        removed = [{"name": label, "remove": True} for label, kind in zip(names, kinds, strict=True) if not kind.gpus]
        gpu = _metric("acc_utilization", {"base": "%"}, names[:1], [100.0], caution=0.5, alert=0.1)
        metrics.append(gpu | {"scope": "accelerator", "subClusters": removed})
    return metrics


def _metric(
    name: str, unit: dict[str, str], names: Sequence[str], peaks: Sequence[float], *, caution: float, alert: float
) -> dict[str, Any]:
    def thresholds(peak: float) -> dict[str, float]:
        shares = {"peak": 1.0, "normal": 1.0, "caution": caution, "alert": alert}
        return {key: round(peak * share, 1) for key, share in shares.items()}

    entry = {"name": name, "unit": unit, "scope": "node", "aggregation": "avg", "timestep": _TIMESTEP}
    others = zip(names[1:], peaks[1:], strict=True)
    overrides = [{"name": label, **thresholds(peak)} for label, peak in others if peak != peaks[0]]
    return entry | thresholds(peaks[0]) | ({"subClusters": overrides} if overrides else {})
