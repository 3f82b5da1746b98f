"""Random node lists and files of an archive: read, or refused by a DocumentError; all readers agree on which."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, strategies

from archive.exceptions import DocumentError
from archive.format.before_version_1 import convert_cluster, convert_data
from archive.format.cluster_json import decode_cluster
from archive.format.data_document import check_document
from archive.format.data_json import decode_data, encode_data, job_statistics, select_data, select_map
from archive.format.meta_json import decode_meta, keys_of
from archive.format.nodelist import NodeList
from tests.support.fake_metric_store import CLUSTER_JSON
from tests.support.random_input import documents, examples

CLUSTER = decode_cluster(json.dumps(CLUSTER_JSON).encode())
UNIT = {"base": "B/s", "prefix": "G"}
STATISTICS = {"min": 1.0, "avg": 2.0, "max": 3.0}
SERIES = {"hostname": "n01", "id": "0", "statistics": STATISTICS, "data": [1.0, None, 3.0]}
STEPS = {"min": [1.0, None], "mean": [1.0, 2.0], "max": [2.0, 3.0]}
DATA = {
    "mem_bw": {"node": {"unit": UNIT, "timestep": 60, "series": [SERIES], "statisticsSeries": STEPS}},
    "load": {"core": {"unit": {"base": ""}, "timestep": 30, "series": [SERIES, SERIES]}},
}
META = {
    "id": 7,
    "jobId": 4711,
    "user": "alice",
    "project": "bio",
    "cluster": "demo",
    "subCluster": "main",
    "partition": "work",
    "numNodes": 1,
    "numHwthreads": 8,
    "exclusive": 1,
    "monitoringStatus": 3,
    "jobState": "completed",
    "startTime": 1_700_000_000,
    "duration": 120,
    "walltime": 3600,
    "resources": [{"hostname": "n01", "hwthreads": [0, 1], "accelerators": ["00:01"]}],
    "metaData": {"jobName": "x", "jobScript": "#!/bin/sh"},
    "tags": [{"type": "perf", "name": "bad"}],
    "statistics": {"load": {"unit": UNIT, **STATISTICS}},
}
BEFORE_1 = {"load": {"node": {"unit": "GB/s", "scope": "node", "timestep": 60, "series": [SERIES]}}}
NODES = strategies.lists(
    strategies.sampled_from(
        ["n", "[", "]", ",", "-", "01", "16", "9" * 18, "0", "*", " ", "a-b.c", "\n", "é", "٣", "[1-3]"]
    ),
    max_size=12,
).map("".join)


def outcome(read: Callable[[], Any]) -> Any:
    """Return what a reader returns, or the text of its DocumentError."""
    try:
        return read()
    except DocumentError as error:
        text = str(error)
    assert text.strip()
    assert "\n" not in text
    return text


@examples(60)
@given(text=NODES | strategies.text(max_size=20))
def test_a_node_list_contains_the_hosts_that_it_lists(text: str) -> None:
    with contextlib.suppress(DocumentError):
        nodes = NodeList.parse(text)
        again = NodeList.parse(str(nodes))
        assert str(again) == str(nodes)
        if not nodes.matches_all:
            hosts = [host for host, _ in zip(nodes.hosts(), range(50), strict=False)]
            assert len(set(hosts)) == len(hosts)
            assert all(host in nodes and host in again for host in hosts)
            assert "" not in hosts


@examples(60)
@given(raw=documents(DATA) | documents(BEFORE_1))
def test_all_readers_take_or_refuse_the_same_data_files(raw: bytes) -> None:
    refusal = outcome(lambda: check_document(raw))
    data = outcome(lambda: decode_data(raw))
    assert (refusal is None) == isinstance(data, dict) or "statistics" in refusal, refusal
    if isinstance(data, dict):
        job_statistics(data, CLUSTER)
        assert outcome(lambda: check_document(encode_data(data))) is None, "what is written can be read"
    if refusal is None:
        assert isinstance(outcome(lambda: select_data(raw, None, ["node"])), bytes)
        assert isinstance(outcome(lambda: select_map(raw, ["node"])), bytes)
    outcome(lambda: convert_data(raw, ["00:01"]))


@examples(60)
@given(raw=documents(META))
def test_a_meta_file_is_read_or_refused(raw: bytes) -> None:
    if not isinstance(outcome(lambda: decode_meta(raw)), str):
        keys_of(raw)


@examples(60)
@given(raw=documents(CLUSTER_JSON))
def test_a_cluster_file_is_read_and_converted_or_refused(raw: bytes) -> None:
    cluster = outcome(lambda: decode_cluster(raw))
    if not isinstance(cluster, str):
        again = decode_cluster(convert_cluster(raw))
        assert (again.metrics, again.faults) == (cluster.metrics, cluster.faults)
        assert [part.name for part in again.subclusters] == [part.name for part in cluster.subclusters]
        cluster.subcluster_of("n01")


@pytest.mark.parametrize("reader", [check_document, decode_data, decode_meta, decode_cluster])
def test_random_bytes_are_refused(reader: Callable[[bytes], Any]) -> None:
    @examples(20)
    @given(raw=strategies.binary(max_size=40))
    def refused(raw: bytes) -> None:
        outcome(lambda: reader(raw))

    refused()
