"""A first cluster.json: from slurm.conf, from the JSON of sinfo in either form, and from lscpu."""

import json
from pathlib import Path
from typing import Any

import pytest

from archive.format.cluster_json import Cluster, decode_cluster
from ccbackend.setup import SetupError
from ccbackend.setup.cluster import skeleton
from ccbackend.setup.hardware import Nodes, Processor, read_lscpu, read_sinfo, read_slurm_conf

SLURM_CONF = """
ClusterName=alex  # a comment
include nodes.conf
NodeName=DEFAULT Sockets=2 CoresPerSocket=4 ThreadsPerCore=2 RealMemory=2048
NodeName=n[01-03,07] State=UNKNOWN
nodename=n04
NodeName=g[1-2] CPUs=8 \\
    Sockets=1 ThreadsPerCore=1 CoresPerSocket=8 Gres=gpu:a40:4(S:0-1),gpu:a40:1,shard:2
PartitionName=all Nodes=ALL
"""
WANTED = [Nodes("n[01-04,07]", 2, 4, 2, 2048), Nodes("g[1-2]", 1, 8, 1, 2048, 5, "a40")]


def _newer(names: list[str], sockets: int, cores: int, threads: int, gres: str) -> dict[str, Any]:
    """Return an entry as Slurm 23.02 and newer write it."""
    ranges = [{"minimum": number, "maximum": number} for number in (sockets, cores, threads, 2048)]
    counts = dict(zip(("sockets", "cores", "threads", "memory"), ranges, strict=True))
    return {"nodes": {"total": len(names), "nodes": names}, "gres": {"total": gres, "used": ""}, **counts}


def test_nodes_come_from_slurm_conf(tmp_path: Path) -> None:
    (tmp_path / "slurm.conf").write_text(SLURM_CONF)
    (tmp_path / "nodes.conf").write_text("# nothing here\n")
    assert read_slurm_conf(tmp_path / "slurm.conf") == WANTED


def test_nodes_come_from_sinfo_in_the_older_and_the_newer_form() -> None:
    plain = [(f"n{number:02}", 2, 4, 2, "") for number in (1, 2, 3, 4, 7)]
    plain += [(f"g{number}", 1, 8, 1, "gpu:a40:5(S:0-1)") for number in (1, 2)]
    keys = ("name", "sockets", "cores", "threads", "gres")
    older = {"nodes": [dict(zip(keys, values, strict=True)) | {"real_memory": 2048} for values in plain]}
    newer = {"sinfo": [_newer(["n01", "n02"], 2, 4, 2, ""), _newer(["n03", "n04", "n07"], 2, 4, 2, "")]}
    newer["sinfo"].append(_newer(["g1", "g2"], 1, 8, 1, "gpu:a40:5"))
    assert read_sinfo(json.dumps(older).encode()) == WANTED
    assert read_sinfo(json.dumps(newer).encode()) == WANTED


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"nodes": []}', b'{"sinfo": [{}]}', b'{"nodes": [{"name": 1}]}'])
def test_what_is_no_list_of_nodes_is_refused(raw: bytes) -> None:
    with pytest.raises(SetupError, match="sinfo"):
        read_sinfo(raw)


@pytest.mark.parametrize("line", ["", "NodeName=n1 Sockets=two", "NodeName=n[1-"])
def test_a_slurm_conf_that_cannot_be_read_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "slurm.conf").write_text(line)
    with pytest.raises(SetupError):
        read_slurm_conf(tmp_path / "slurm.conf")


def test_the_skeleton_is_a_cluster_without_faults() -> None:
    cluster = read(WANTED, Processor())
    assert cluster.faults == ()
    assert [subcluster.name for subcluster in cluster.subclusters] == ["n", "g"]
    nodes, gpus = cluster.subclusters
    assert nodes.topology.core[0] == (0, 8)  # as Linux mostly numbers them
    assert nodes.topology.socket == ((0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15))
    assert [each.model for each in gpus.topology.accelerators] == ["a40"] * 5
    load, acc = cluster.metric("cpu_load"), cluster.metric("acc_utilization")
    assert load is not None
    assert acc is not None
    assert (load.peak, acc.for_subcluster("n")) == (8, None)


def test_hwthreads_are_numbered_as_lscpu_says(tmp_path: Path) -> None:
    file = tmp_path / "lscpu"
    lines = [f"{cpu},{cpu // 2},{cpu // 4},{cpu // 2}" for cpu in range(8)]
    file.write_text("Model name:          Some  CPU @ 2 GHz\n# CPU,Core,Socket,Node\n" + "\n".join(lines) + "\n")
    (subcluster,) = read([Nodes("*", 2, 2, 2)], read_lscpu(file)).subclusters
    assert subcluster.processor_type == "Some CPU @ 2 GHz"
    assert subcluster.topology.core == ((0, 1), (2, 3), (4, 5), (6, 7))
    assert subcluster.topology.memory_domain == ((0, 1), (2, 3), (4, 5), (6, 7))
    (other,) = read([Nodes("*", 1, 2, 2)], read_lscpu(file)).subclusters
    assert other.topology.core == ((0, 2), (1, 3))  # of other nodes than the file's
    file.write_text("nothing of it\n")
    with pytest.raises(SetupError, match="lscpu"):
        read_lscpu(file)


def read(kinds: list[Nodes], processor: Processor) -> Cluster:
    """Return the cluster of a skeleton."""
    return decode_cluster(skeleton("alex", kinds, processor))
