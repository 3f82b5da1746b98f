"""The cc-metric-store source, against HTTP servers on loopback that speak the store's protocol, well or badly."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from archive.exceptions import SourceError
from archive.format.cluster_json import decode_cluster
from archive.format.data_json import MetricData, encode_data
from archive.format.meta_json import Resource
from archive.sources import cc_metric_store, get_source, validate_config
from archive.sources.base import JobInfo
from archive.sources.cc_metric_store import CcMetricStoreSource
from tests.support.fake_metric_store import CLUSTER_JSON, FakeStore, level
from tests.support.http_store import respond

RELEASES = ["0.0.1", "0.1.1", "1.5.4"]
START = 1_700_000_000
CLUSTER = decode_cluster(json.dumps(CLUSTER_JSON).encode())


@pytest.fixture
def store(request: Any) -> Iterator[FakeStore]:
    """Return a fake store that listens on loopback, of the release that a test names, else of the newest."""
    with FakeStore(getattr(request, "param", "1.5.4")) as fake:
        yield fake


def source_of(store: FakeStore, **options: Any) -> CcMetricStoreSource:
    """Return a source that asks the fake store."""
    entry = {"kind": "cc-metric-store", "url": store.url, "timeout": 5, **options}
    source = get_source("demo", {"demo": entry})
    assert isinstance(source, CcMetricStoreSource)
    return source


def job(nodes: int = 1, *, duration: int = 600, sub_cluster: str = "main", **resource: Any) -> JobInfo:
    """Return a job on the first nodes of a subcluster."""
    resources = [
        Resource(f"{sub_cluster[0].replace('m', 'n')}{number:02d}", **resource) for number in range(1, nodes + 1)
    ]
    return JobInfo("demo", sub_cluster, 7, START, START + duration, resources, nodes)


def ids(data: MetricData) -> list[tuple[str, str | None]]:
    """Return host and id of each series."""
    return [(series.hostname, series.id) for series in data.series]


def test_a_job_of_one_node_has_every_metric_in_scope_node_and_in_its_native_one(store: FakeStore) -> None:
    loaded = source_of(store).load(job(accelerators=["00:01"]), CLUSTER)
    assert {name: sorted(scopes) for name, scopes in loaded.items()} == {
        "load": ["node"],
        "flops": ["core", "node"],
        "clock": ["core", "node"],
        "power": ["node", "socket"],
        "mem_bw": ["memoryDomain", "node"],
        "acc_used": ["accelerator", "node"],
    }
    steps = np.arange(10.0)
    np.testing.assert_array_equal(loaded["load"]["node"].series[0].data, level("load", "n01") + steps)
    parts = [level("mem_bw", "n01", unit) + steps for unit in "01"]
    for series, part in zip(loaded["mem_bw"]["memoryDomain"].series, parts, strict=True):
        np.testing.assert_array_equal(series.data, part)
    np.testing.assert_array_equal(loaded["mem_bw"]["node"].series[0].data, sum(parts))
    assert loaded["load"]["node"].unit == {"base": "B/s", "prefix": "G"}
    assert loaded["load"]["node"].series[0].data.dtype == np.float64


def test_one_request_holds_all_queries_in_the_form_of_the_protocol(store: FakeStore) -> None:
    source_of(store).load(job(accelerators=["00:01"]), CLUSTER)
    assert store.calls == [("GET", "/api/query", None)]
    (request,) = store.requests
    queries = request.pop("queries")
    asked = {"with-stats": True, "with-data": True, "with-padding": False}
    assert request == {"cluster": "demo", "from": START, "to": START + 600, **asked}
    threads = [str(number) for number in range(8)]
    assert {"metric": "load", "host": "n01", "aggreg": False} in queries
    whole = {"metric": "flops", "host": "n01", "aggreg": True, "type": "hwthread"}
    assert {**whole, "type-ids": threads} in queries
    assert {**whole, "type-ids": ["2", "6"]} in queries
    power = {"metric": "power", "host": "n01", "type": "socket", "type-ids": ["0", "1"]}
    assert {**power, "aggreg": True} in queries
    assert {**power, "aggreg": False} not in queries, "which one is missing would not be known"
    for unit in "01":
        assert {**power, "aggreg": False, "type-ids": [unit]} in queries
    used = {"metric": "acc_used", "host": "n01", "type": "accelerator", "type-ids": ["00:01"]}
    assert {**used, "aggreg": False} in queries
    assert not [query for query in queries if query["metric"] == "gone"]
    assert len(queries) == 1 + (1 + 4) + (1 + 4) + (1 + 2) + (1 + 2) + (1 + 1)


def test_hwthreads_become_cores_and_the_rest_keeps_its_scope(store: FakeStore) -> None:
    loaded = source_of(store).load(job(2), CLUSTER)
    assert ids(loaded["flops"]["core"]) == [(host, core) for host in ("n01", "n02") for core in "0123"]
    assert ids(loaded["clock"]["core"]) == ids(loaded["flops"]["core"])
    assert ids(loaded["flops"]["node"]) == [("n01", None), ("n02", None)]
    third = level("flops", "n02", "2") + level("flops", "n02", "6") + 2 * np.arange(10.0)
    np.testing.assert_array_equal(loaded["flops"]["core"].series[6].data, third)


def test_the_store_makes_sums_and_averages(store: FakeStore) -> None:
    loaded = source_of(store).load(job(2), CLUSTER)
    for name, whole in (("flops", np.sum), ("power", np.sum), ("clock", np.mean)):
        fine, node = (loaded[name][scope] for scope in sorted(loaded[name], key="node".__eq__))
        parts = np.array([series.data for series in fine.series if series.hostname == "n02"])
        np.testing.assert_allclose(node.series[1].data, whole(parts, axis=0))


@pytest.mark.parametrize(("nodes", "fine"), [(8, True), (9, False), (16, False)])
def test_the_native_scope_is_there_for_jobs_of_up_to_eight_nodes(store: FakeStore, nodes: int, fine: bool) -> None:
    loaded = source_of(store).load(job(nodes, accelerators=["00:01"]), CLUSTER)
    assert ("core" in loaded["flops"]) is fine
    assert ("accelerator" in loaded["acc_used"]) is fine
    assert all(len(scopes["node"].series) == nodes for scopes in loaded.values())
    document = json.loads(encode_data(loaded))
    assert ("statisticsSeries" in document["load"]["node"]) is (nodes >= 16)


def test_a_job_gets_the_cores_sockets_and_accelerators_that_are_its_own(store: FakeStore) -> None:
    resources = [Resource("n01", [1, 5, 0], ["00:01", "00:02"]), Resource("n02", [2, 3])]
    loaded = source_of(store).load(JobInfo("demo", "main", 7, START, START + 600, resources, 2), CLUSTER)
    assert ids(loaded["power"]["socket"]) == [("n01", "0"), ("n02", "1")]
    assert ids(loaded["clock"]["core"]) == [("n01", "0"), ("n01", "1"), ("n02", "2"), ("n02", "3")]
    assert ids(loaded["acc_used"]["accelerator"]) == [("n01", "00:01"), ("n01", "00:02")]
    assert ids(loaded["acc_used"]["node"]) == [("n01", None)]
    asked = [(query["host"], query["type-ids"]) for query in store.queries if query["metric"] == "flops"]
    assert asked == [
        ("n01", ["1", "5", "0"]),
        ("n01", ["0"]),
        ("n01", ["1", "5"]),
        ("n02", ["2", "3"]),
        ("n02", ["2"]),
        ("n02", ["3"]),
    ]


def test_of_hosts_without_a_topology_a_whole_host_is_asked_for_and_no_part_of_one(store: FakeStore) -> None:
    store.answer = lambda request: {"results": [[{"data": [1]}] for _ in request["queries"]]}  # type: ignore[method-assign]
    source_of(store).load(job(sub_cluster="bare"), CLUSTER, ["flops", "power"])
    assert store.queries == [{"metric": name, "host": "b01", "aggreg": False} for name in ("flops", "power")]
    store.requests.clear()
    source_of(store).load(job(sub_cluster="bare", hwthreads=[3]), CLUSTER, ["flops", "power"])
    asked = {"metric": "flops", "host": "b01", "aggreg": True, "type": "hwthread", "type-ids": ["3"]}
    assert store.queries == [asked]


def test_only_the_metrics_asked_for_are_loaded(store: FakeStore) -> None:
    assert list(source_of(store).load(job(), CLUSTER, ["power", "load", "unknown", "gone"])) == ["load", "power"]
    assert {query["metric"] for query in store.queries} == {"power", "load"}


def test_nothing_to_ask_for_is_no_request(store: FakeStore) -> None:
    assert source_of(store).load(job(), CLUSTER, []) == {}
    assert store.requests == []


def test_missing_samples_are_nan(store: FakeStore) -> None:
    store.gaps = {0, 3}
    data = source_of(store).load(job(), CLUSTER)["load"]["node"].series[0].data
    assert np.flatnonzero(np.isnan(data)).tolist() == [0, 3]


def test_time_steps_are_those_of_cluster_json(store: FakeStore) -> None:
    loaded = source_of(store).load(job(), CLUSTER)
    assert (loaded["power"]["node"].timestep, len(loaded["power"]["node"].series[0].data)) == (30, 20)
    assert (loaded["load"]["node"].timestep, len(loaded["load"]["node"].series[0].data)) == (60, 10)


@pytest.mark.parametrize(("late", "missing"), [(59, 0), (60, 1), (299, 4), (600, 10)])
def test_a_store_that_begins_later_than_the_job_leaves_the_steps_before_missing(
    store: FakeStore, late: int, missing: int
) -> None:
    store.late = late
    data = source_of(store).load(job(duration=1800), CLUSTER)["load"]["node"].series[0].data
    there = level("load", "n01") + np.arange((1800 - late) // 60)
    np.testing.assert_array_equal(data, [*[np.nan] * missing, *there])


@pytest.mark.parametrize("store", RELEASES, indirect=True)
def test_a_unit_without_data_is_left_out_and_the_others_keep_their_ids(store: FakeStore) -> None:
    store.silent = {("power", "n01", "0"), ("clock", "n02", "2"), ("acc_used", "n02", "00:01")}
    loaded = source_of(store).load(job(2, accelerators=["00:01", "00:02"]), CLUSTER)
    assert ids(loaded["power"]["socket"]) == [("n01", "1"), ("n02", "0"), ("n02", "1")]
    assert ids(loaded["clock"]["core"]) == [*(("n01", core) for core in "0123"), *(("n02", core) for core in "013")]
    assert ids(loaded["acc_used"]["accelerator"]) == [("n01", "00:01"), ("n01", "00:02"), ("n02", "00:02")]
    steps = np.arange(20.0)
    for scope in ("node", "socket"):
        np.testing.assert_array_equal(loaded["power"][scope].series[0].data, level("power", "n01", "1") + steps)


@pytest.mark.parametrize("store", RELEASES, indirect=True)
def test_a_host_of_which_every_unit_is_silent_is_left_out(store: FakeStore) -> None:
    store.silent = {("acc_used", "n01", "00:01"), ("mem_bw", "n02", "0"), ("mem_bw", "n02", "1")}
    loaded = source_of(store).load(job(2, accelerators=["00:01"]), CLUSTER)
    assert {scope: ids(data) for scope, data in loaded["acc_used"].items()} == {
        "node": [("n02", None)],
        "accelerator": [("n02", "00:01")],
    }
    assert ids(loaded["mem_bw"]["node"]) == [("n01", None)]


@pytest.mark.parametrize("store", RELEASES, indirect=True)
def test_hosts_without_data_are_left_out(store: FakeStore) -> None:
    store.absent_hosts = {"n02"}
    store.all_null = {("load", "n03")}
    loaded = source_of(store).load(job(3), CLUSTER)
    assert ids(loaded["load"]["node"]) == [("n01", None)]
    assert ids(loaded["power"]["node"]) == [("n01", None), ("n03", None)]
    assert {host for host, _ in ids(loaded["flops"]["core"])} == {"n01", "n03"}


@pytest.mark.parametrize("store", RELEASES, indirect=True)
def test_a_unit_that_begins_later_than_another_costs_the_node_no_more_than_these_steps(store: FakeStore) -> None:
    store.begins = {("power", "n02", "1"): 120, ("flops", "n01", "6"): 60, ("acc_used", "n03", "00:02"): 600}
    store.silent = {("acc_used", "n03", "00:03")}
    info = job(3, accelerators=["00:01", "00:02", "00:03"])
    loaded = source_of(store).load(info, CLUSTER)
    sockets = level("power", "n02", "0") + level("power", "n02", "1") + 4 + 2 * np.arange(16.0)
    np.testing.assert_array_equal(loaded["power"]["node"].series[1].data, [*[np.nan] * 4, *sockets])
    assert ids(loaded["power"]["node"]) == [("n01", None), ("n02", None), ("n03", None)]
    assert ids(loaded["flops"]["node"]) == [("n01", None), ("n02", None), ("n03", None)]
    assert ids(loaded["flops"]["core"]) == [(host, core) for host in ("n01", "n02", "n03") for core in "0123"]
    core = level("flops", "n01", "2") + level("flops", "n01", "6") + 1 + 2 * np.arange(9.0)
    np.testing.assert_array_equal(loaded["flops"]["core"].series[2].data, [np.nan, *core])
    alone = level("acc_used", "n03", "00:01") + np.arange(10.0)
    np.testing.assert_array_equal(loaded["acc_used"]["node"].series[2].data, alone, "of the only unit with samples")
    assert len(store.requests) == 2
    assert len(store.requests[1]["queries"]) == 2 + 8 + 3, "each unit is asked for once"


@pytest.mark.parametrize("store", RELEASES, indirect=True)
def test_a_metric_that_the_store_refuses_on_every_host_is_left_out(store: FakeStore) -> None:
    store.refused = {("power", "n01"), ("power", "n02"), ("load", "n01")}
    loaded = source_of(store).load(job(2), CLUSTER)
    assert "power" not in loaded
    assert ids(loaded["load"]["node"]) == [("n02", None)]


@pytest.mark.parametrize("store", RELEASES, indirect=True)
def test_a_job_of_which_the_store_has_nothing_is_logged(store: FakeStore, caplog: pytest.LogCaptureFixture) -> None:
    store.absent_hosts = {"n01"}
    with caplog.at_level(logging.WARNING):
        assert source_of(store).load(job(), CLUSTER) == {}
    assert ("no data" if store.release == "1.5.4" else "metric or host not found") in caplog.text


@pytest.mark.parametrize("result", [[], [{"data": None}], [{"data": []}], [{}], [{"data": [None, None]}]])
def test_a_result_without_samples_is_left_out(store: FakeStore, result: Any) -> None:
    store.answer = lambda request: {"results": [result] * len(request["queries"])}  # type: ignore[method-assign]
    assert source_of(store).load(job(), CLUSTER, ["load"]) == {}


def test_an_error_in_place_of_several_units_leaves_all_of_them_out(store: FakeStore) -> None:
    store.answer = lambda request: {"results": [[{"error": "no"}]] * len(request["queries"])}  # type: ignore[method-assign]
    assert source_of(store).load(job(), CLUSTER, ["power"]) == {}


@pytest.mark.parametrize("store", ["0.0.1"], indirect=True)
@pytest.mark.parametrize(
    ("options", "call"),
    [
        ({"method": "GET"}, ("GET", "/api/query")),
        ({"method": "GET", "version": ""}, ("GET", "/api/query")),
        ({"method": "POST"}, ("POST", "/api/query")),
        ({"version": "v2"}, ("GET", "/api/query?version=v2")),
        ({}, ("GET", "/api/query")),
    ],
)
def test_method_and_version_are_as_configured(store: FakeStore, options: Any, call: tuple[str, str]) -> None:
    assert "load" in source_of(store, **options).load(job(), CLUSTER)
    assert [each[:2] for each in store.calls] == [call]
    assert store.queries, "a GET has a body too"


@pytest.mark.parametrize("store", RELEASES, indirect=True)
def test_each_release_takes_the_default_method_at_once(store: FakeStore) -> None:
    assert "load" in source_of(store).load(job(), CLUSTER)
    assert [call[0] for call in store.calls] == ["GET"]


def test_post_is_tried_where_get_is_refused_and_remembered_as_long_as_it_is_taken(store: FakeStore) -> None:
    store.methods = ("POST",)
    source = source_of(store)
    for _ in range(2):
        assert "load" in source.load(job(), CLUSTER)
    assert [call[0] for call in store.calls] == ["GET", "POST", "POST"]
    store.methods = ("GET",)
    for _ in range(2):
        assert "load" in source.load(job(), CLUSTER)
    assert [call[0] for call in store.calls[3:]] == ["POST", "GET", "GET"]


def test_post_is_not_remembered_where_it_is_refused_too(store: FakeStore) -> None:
    store.methods = ()
    source = source_of(store)
    for _ in range(2):
        with pytest.raises(SourceError, match="answered 405 Method Not Allowed"):
            source.load(job(), CLUSTER)
    assert [call[0] for call in store.calls] == ["GET", "POST"] * 2


@pytest.mark.parametrize(("method", "taken"), [("POST", "GET"), ("GET", "POST")])
def test_a_method_of_the_configuration_is_the_only_one(store: FakeStore, method: str, taken: str) -> None:
    store.methods = (taken,)
    with pytest.raises(SourceError, match="answered 405 Method Not Allowed"):
        source_of(store, method=method).load(job(), CLUSTER)
    assert [call[0] for call in store.calls] == [method]


def test_no_other_method_is_tried_after_any_other_refusal(store: FakeStore) -> None:
    store.misbehave = lambda handler: respond(handler, 404, b"")
    with pytest.raises(SourceError, match="answered 404 Not Found"):
        source_of(store).load(job(), CLUSTER)
    assert [call[0] for call in store.calls] == ["GET"]


def test_a_job_with_many_queries_is_loaded_in_several_requests(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = encode_data(source_of(store).load(job(4), CLUSTER))
    asked = store.queries.copy()
    store.requests.clear()
    monkeypatch.setattr(cc_metric_store, "MAX_QUERIES", 7)
    assert encode_data(source_of(store).load(job(4), CLUSTER)) == whole
    assert store.queries == asked
    assert [len(request["queries"]) for request in store.requests] == [7] * (len(asked) // 7) + [len(asked) % 7]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"results": null}',
        b'{"results": {}}',
        b'{"results": [{}]}',
        b'{"results": [[1]]}',
        b'{"results": [[{"data": 1}]]}',
        b'{"results": [[{"data": ["1"]}]]}',
        b'{"results": [[{"data": [1], "error": 2}]]}',
        b'{"results": [[{"data": [1], "from": "now"}]]}',
        b'{"results": [[{"data": [NaN]}]]}',
        b'{"results": [[{"data": [1]}, {"data": [1]}]]}',
        b'{"results": [[{"data": [1]}], [{"data": [1]}]]}',
        b'{"results": []}',
        b'{"results": [[{"error": "\xff"}]]}',
        b"[" * 100_000,
    ],
)
def test_an_answer_of_another_shape_is_transient(store: FakeStore, body: bytes) -> None:
    store.misbehave = lambda handler: respond(handler, 200, body)
    with pytest.raises(SourceError, match="the answer is not what was expected") as caught:
        source_of(store).load(job(), CLUSTER, ["load"])
    assert caught.value.transient


def test_more_series_than_asked_for_are_named(store: FakeStore) -> None:
    store.answer = lambda request: {"results": [[{"data": [1]}] * 2] * len(request["queries"])}  # type: ignore[method-assign]
    with pytest.raises(SourceError, match="2 series for one of power of n01"):
        source_of(store).load(job(), CLUSTER, ["power"])


def test_the_bounds_hold_for_all_requests_of_a_job_together(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cc_metric_store, "MAX_QUERIES", 1)
    monkeypatch.setattr(cc_metric_store, "MAX_POINTS", 25)
    assert source_of(store).load(job(2), CLUSTER, ["load"])
    with pytest.raises(SourceError, match="too many points"):
        source_of(store).load(job(3), CLUSTER, ["load"])
    monkeypatch.setattr(cc_metric_store, "MAX_BYTES", 300)
    assert source_of(store).load(job(1), CLUSTER, ["load"])
    with pytest.raises(SourceError, match="too many points"):
        source_of(store).load(job(2), CLUSTER, ["load"])


@pytest.mark.parametrize("version", ["v3", 2])
def test_an_unknown_version_is_named(version: Any) -> None:
    (message,) = validate_config({"*": {"kind": "cc-metric-store", "url": "http://h", "version": version}})
    assert "version" in message
