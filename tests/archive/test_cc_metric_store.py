"""The cc-metric-store source, against HTTP servers on loopback that speak the store's protocol, well or badly."""

import contextlib
import gzip
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archive.clusters import decode_cluster
from archive.documents import MetricData, Resource, encode_data
from archive.exceptions import SourceError
from archive.layout import job_folder
from archive.sources import CcMetricStoreSource, JobInfo, cc_metric_store, get_source, validate_config
from jobs.models import ArchiveTask
from jobs.states import MonitoringStatus
from jobs.worker import ArchiveWorker
from tests.factories import JobFactory

START = 1_700_000_000
TOKEN = "a-secret-token"


def metric(name: str, scope: str, aggregation: str = "sum", **more: Any) -> dict[str, Any]:
    """Return an entry of metricConfig."""
    entry = {"name": name, "unit": {"base": "B/s", "prefix": "G"}, "scope": scope, "aggregation": aggregation}
    return {**entry, "timestep": 60, "peak": 4, "normal": 3, "caution": 2, "alert": 1, **more}


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
    "subClusters": [
        {
            "name": "main",
            "nodes": "n[01-99]",
            "topology": {
                "node": list(range(8)),
                "socket": [[0, 1, 4, 5], [2, 3, 6, 7]],
                "memoryDomain": [[0, 1, 4, 5], [2, 3, 6, 7]],
                "core": [[0, 4], [1, 5], [2, 6], [3, 7]],
                "accelerators": [{"id": "00:01", "type": "GPU", "model": "A40"}],
            },
        },
        {"name": "bare", "nodes": "b[01-99]"},
    ],
}
CLUSTER = decode_cluster(json.dumps(CLUSTER_JSON).encode())
AGGREGATION = {entry["name"]: entry["aggregation"] for entry in METRICS}
TIMESTEP = {entry["name"]: entry["timestep"] for entry in METRICS}


def level(name: str, host: str, unit: str = "") -> float:
    """Return what the fake store says of one unit; each sample adds its number."""
    return float(sum(map(ord, name + host)) + 1000 * int(unit.replace(":", "") or "0"))


class FakeStore:
    """A store that knows every host, and answers as the protocol says, unless `misbehave` takes the answer over."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.calls: list[tuple[str, str, str | None]] = []
        self.absent_hosts: set[str] = set()
        self.all_null: set[tuple[str, str]] = set()
        self.refused: set[tuple[str, str]] = set()
        self.gaps: set[int] = set()
        self.late = 0
        self.misbehave: Callable[[BaseHTTPRequestHandler], object] | None = None
        self.leaving = threading.Event()
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                store.calls.append((self.command, self.path, self.headers["Authorization"]))
                store.requests.append(json.loads(body))
                if store.misbehave is not None:
                    store.misbehave(self)
                else:
                    respond(self, 200, json.dumps(store.answer(store.requests[-1])).encode())

            do_GET = do_POST = _answer

            def log_message(self, format: str, *arguments: Any) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """Take it as it is that a client leaves in the middle."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

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
        name, host = query["metric"], query["host"]
        begin = request["from"] + self.late
        frame = {"from": begin, "to": request["to"]}
        units = query.get("type-ids", [""])
        if host in self.absent_hosts or (name, host) in self.refused:
            return [{"error": "host or metric not found", **frame}] * (1 if query["aggreg"] else len(units))
        steps = max(0, request["to"] - begin) // TIMESTEP[name]
        table = np.array([[level(name, host, unit) + step for step in range(steps)] for unit in units])
        if query["aggreg"]:
            assert query["type"]
            table = np.array([table.sum(axis=0) if AGGREGATION[name] == "sum" else table.mean(axis=0)])
        return [{**frame, "data": self._with_gaps(row, (name, host)), "avg": 1, "min": 1, "max": 1} for row in table]

    def _with_gaps(self, row: Any, of: tuple[str, str]) -> list[float | None]:
        none = of in self.all_null
        return [None if none or step in self.gaps else value for step, value in enumerate(row.tolist())]


def respond(handler: BaseHTTPRequestHandler, status: int, body: bytes, length: int | None = None) -> None:
    """Send an answer; `length` is what it claims to be long."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)
    handler.wfile.flush()
    if length is not None:
        handler.close_connection = True


@pytest.fixture
def store() -> Iterator[FakeStore]:
    """Return a fake store that listens on loopback."""
    fake = FakeStore()
    thread = threading.Thread(target=fake.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield fake
    fake.leaving.set()
    fake.server.shutdown()
    fake.server.server_close()
    thread.join()


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


def failure(source: CcMetricStoreSource, info: JobInfo | None = None) -> SourceError:
    """Return the error that a load raises, which names the store."""
    with pytest.raises(SourceError) as caught:
        source.load(info or job(), CLUSTER)
    assert "http://127.0.0.1:" in str(caught.value)
    assert "/api/query: " in str(caught.value)
    return caught.value


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
    assert store.calls == [("POST", "/api/query", None)]
    (request,) = store.requests
    queries = request.pop("queries")
    assert request == {"cluster": "demo", "from": START, "to": START + 600, "with-stats": True, "with-data": True}
    threads = [str(number) for number in range(8)]
    assert {"metric": "load", "host": "n01", "aggreg": False} in queries
    whole = {"metric": "flops", "host": "n01", "aggreg": True, "type": "hwthread"}
    assert {**whole, "type-ids": threads} in queries
    assert {**whole, "type-ids": ["2", "6"]} in queries
    power = {"metric": "power", "host": "n01", "type": "socket", "type-ids": ["0", "1"]}
    assert {**power, "aggreg": True} in queries
    assert {**power, "aggreg": False} in queries
    used = {"metric": "acc_used", "host": "n01", "type": "accelerator", "type-ids": ["00:01"]}
    assert {**used, "aggreg": False} in queries
    assert not [query for query in queries if query["metric"] == "gone"]
    assert len(queries) == 1 + 5 + 2 + 2 + 2 + 2


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


@pytest.mark.parametrize(("late", "missing"), [(59, 0), (60, 1), (299, 4)])
def test_a_store_that_begins_later_than_the_job_leaves_the_steps_before_missing(
    store: FakeStore, late: int, missing: int
) -> None:
    store.late = late
    data = source_of(store).load(job(), CLUSTER)["load"]["node"].series[0].data
    assert np.flatnonzero(np.isnan(data)).tolist() == list(range(missing))
    assert data[missing] == level("load", "n01")


def test_hosts_without_data_are_left_out(store: FakeStore) -> None:
    store.absent_hosts = {"n02"}
    store.all_null = {("load", "n03")}
    loaded = source_of(store).load(job(3), CLUSTER)
    assert ids(loaded["load"]["node"]) == [("n01", None)]
    assert ids(loaded["power"]["node"]) == [("n01", None), ("n03", None)]
    assert {host for host, _ in ids(loaded["flops"]["core"])} == {"n01", "n03"}


def test_a_metric_that_the_store_refuses_on_every_host_is_left_out(store: FakeStore) -> None:
    store.refused = {("power", "n01"), ("power", "n02"), ("load", "n01")}
    loaded = source_of(store).load(job(2), CLUSTER)
    assert "power" not in loaded
    assert ids(loaded["load"]["node"]) == [("n02", None)]


def test_a_job_of_which_the_store_refuses_everything_is_logged(
    store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.absent_hosts = {"n01"}
    with caplog.at_level(logging.WARNING):
        assert source_of(store).load(job(), CLUSTER) == {}
    assert "host or metric not found" in caplog.text


@pytest.mark.parametrize("result", [[], [{"data": None}], [{"data": []}], [{}], [{"data": [None, None]}]])
def test_a_result_without_samples_is_left_out(store: FakeStore, result: Any) -> None:
    store.answer = lambda request: {"results": [result] * len(request["queries"])}  # type: ignore[method-assign]
    assert source_of(store).load(job(), CLUSTER, ["load"]) == {}


def test_an_error_in_place_of_several_units_leaves_all_of_them_out(store: FakeStore) -> None:
    store.answer = lambda request: {"results": [[{"error": "no"}]] * len(request["queries"])}  # type: ignore[method-assign]
    assert source_of(store).load(job(), CLUSTER, ["power"]) == {}


def test_the_token_is_sent_and_never_told(store: FakeStore) -> None:
    store.misbehave = lambda handler: respond(handler, 401, f"bad token {TOKEN}".encode())
    error = failure(source_of(store, token=TOKEN))
    assert store.calls == [("POST", "/api/query", f"Bearer {TOKEN}")]
    assert "401 Unauthorized: bad token ***" in str(error)
    assert TOKEN not in str(error)
    store.misbehave = lambda handler: respond(handler, 401, b"x" * 195 + TOKEN.encode() + b"y" * 1000)
    assert TOKEN[:3] not in str(failure(source_of(store, token=TOKEN))), "not even the beginning, where it is cut"


@pytest.mark.parametrize(
    ("options", "call"),
    [
        ({"method": "GET"}, ("GET", "/api/query?version=v2")),
        ({"method": "GET", "version": ""}, ("GET", "/api/query")),
        ({"version": "v2"}, ("POST", "/api/query?version=v2")),
        ({}, ("POST", "/api/query")),
    ],
)
def test_method_and_version_are_as_configured(store: FakeStore, options: Any, call: tuple[str, str]) -> None:
    assert "load" in source_of(store, **options).load(job(), CLUSTER)
    assert [each[:2] for each in store.calls] == [call]
    assert store.queries, "a GET has a body too"


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


def test_threads_share_a_source(store: FakeStore) -> None:
    source = source_of(store)
    alone = encode_data(source.load(job(2), CLUSTER))
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: encode_data(source.load(job(2), CLUSTER)), range(40))) == {alone}


def test_the_same_entry_is_the_same_source(store: FakeStore) -> None:
    assert source_of(store) is source_of(store)


def test_nobody_listening_is_transient() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        error = failure(CcMetricStoreSource.from_config({"url": url}))
    assert error.transient
    assert "refused" in str(error)


def test_a_store_that_hangs_is_given_up_after_the_timeout(store: FakeStore) -> None:
    store.misbehave = lambda handler: store.leaving.wait(20)
    begin = time.monotonic()
    error = failure(source_of(store, timeout=1))
    assert 0.9 < time.monotonic() - begin < 3
    assert error.transient
    assert "no answer within 1 s" in str(error)


def test_the_timeout_is_that_of_the_settings_unless_told(store: FakeStore, settings: Any) -> None:
    settings.METRIC_TIMEOUT = 1
    store.misbehave = lambda handler: store.leaving.wait(20)
    assert "within 1 s" in str(failure(CcMetricStoreSource.from_config({"url": store.url})))


def test_a_store_that_drips_is_given_up_too(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        respond(handler, 200, b"", length=10_000)
        with contextlib.suppress(OSError):
            while not store.leaving.wait(0.05):
                handler.wfile.write(b" ")

    store.misbehave = drip
    monkeypatch.setattr(cc_metric_store, "SLOWEST", 1)
    error = failure(source_of(store, timeout=0.5))
    assert error.transient
    assert "no whole answer within 0.5 s" in str(error)


CUT = b'{"results": [[{"data": [1, 2'


@pytest.mark.parametrize("length", [None, 1000])
def test_a_cut_body_is_transient(store: FakeStore, length: int | None) -> None:
    store.misbehave = lambda handler: respond(handler, 200, CUT, length)
    assert failure(source_of(store)).transient


def test_a_connection_closed_without_an_answer_is_transient(store: FakeStore) -> None:
    store.misbehave = lambda handler: setattr(handler, "close_connection", True)
    assert failure(source_of(store)).transient


@pytest.mark.parametrize(
    ("status", "transient"),
    [
        *((status, False) for status in (400, 413, 422)),
        *((status, True) for status in (302, 401, 403, 404, 408, 429, 500, 502, 503)),
    ],
)
def test_the_status_says_whether_trying_again_helps(store: FakeStore, status: int, transient: bool) -> None:
    store.misbehave = lambda handler: respond(handler, status, b"<p>what\n went wrong</p>" + b"x" * 100_000)
    error = failure(source_of(store))
    assert error.transient is transient
    assert f"answered {status} " in str(error)
    assert "<p>what went wrong</p>" in str(error)
    assert len(str(error)) < 400


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


def test_too_few_units_in_a_result_are_named(store: FakeStore) -> None:
    store.answer = lambda request: {"results": [[{"data": [1]}]] * len(request["queries"])}  # type: ignore[method-assign]
    with pytest.raises(SourceError, match="1 series for 2 of power of n01"):
        source_of(store).load(job(), CLUSTER, ["power"])


def test_too_many_points_are_permanent_and_not_read_to_their_end(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = 0

    def endless(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        respond(handler, 200, b'{"results": [[{"data": [', length=10**12)
        with contextlib.suppress(OSError):
            while not store.leaving.is_set():
                sent += handler.wfile.write(b"1," * 50_000)

    store.misbehave = endless
    monkeypatch.setattr(cc_metric_store, "MAX_BYTES", 1_000_000)
    error = failure(source_of(store))
    assert not error.transient
    assert "too many points" in str(error)
    assert sent < 100_000_000


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


def test_a_cluster_that_is_not_known_yet_is_not_asked_for(store: FakeStore) -> None:
    with pytest.raises(SourceError, match=r"cluster\.json is missing") as caught:
        source_of(store).load(job(), None)
    assert caught.value.transient
    assert store.requests == []


GOOD = {"kind": "cc-metric-store", "url": "https://metrics.example.org/prefix/", "token": "x", "method": "GET"}


@pytest.mark.parametrize("more", [{}, {"version": "v2"}, {"version": ""}, {"timeout": 0.5}, {"url": "http://[::1]:80"}])
def test_a_good_entry_is_taken(more: Any) -> None:
    assert validate_config({"*": GOOD | more}) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [("url", value) for value in (None, 3, "", "metrics:8082", "ftp://x", "http://", "http://h:x", "http://h:99999")]
    + [("url", value) for value in ("http://h/?q=1", "http://h/#f", " http://h", "http://h\n", "http://[::1")]
    + [("token", value) for value in (3, "", "two words", "line\n", "ü")]
    + [("method", "PUT"), ("method", ["GET"]), ("version", "v3"), ("version", 2)]
    + [("timeout", value) for value in (0, -1, "30", True, None, float("inf"), float("nan"))]
    + [("tokn", "x")],
)
def test_a_bad_value_is_named(key: str, value: Any) -> None:
    (message,) = validate_config({"*": GOOD | {key: value}})
    assert key in message


def test_a_url_is_required_and_secrets_are_not_repeated() -> None:
    assert "url None" in validate_config({"*": {"kind": "cc-metric-store"}})[0]
    entry = GOOD | {"url": "http://me:hidden@host", "token": "also hidden"}
    messages = validate_config({"*": entry})
    assert len(messages) == 2
    assert "hidden" not in "".join(messages)


@pytest.fixture
def demo(archive_root: Path, store: FakeStore, settings: Any) -> Path:
    """Return an archive with the cluster demo, whose samples come from the fake store."""
    folder = archive_root / "demo"
    folder.mkdir()
    (folder / "cluster.json").write_text(json.dumps(CLUSTER_JSON))
    settings.METRIC_SOURCES = {"demo": {"kind": "cc-metric-store", "url": store.url, "token": TOKEN, "timeout": 5}}
    return archive_root


def finished_job() -> Any:
    """Make a job of two nodes that waits for the archive."""
    resources = json.dumps([{"hostname": "n01"}, {"hostname": "n02"}])
    return JobFactory.create(finished=True, cluster="demo", num_nodes=2, resources=resources)


@pytest.mark.django_db(transaction=True)
def test_the_worker_archives_what_the_store_has(demo: Path, store: FakeStore) -> None:
    store.gaps = {0}
    row = finished_job()
    assert ArchiveWorker().drain().archived == 1
    folder = job_folder(demo, row.key)
    data = json.loads(gzip.decompress((folder / "data.json.gz").read_bytes()))
    assert sorted(data) == ["clock", "flops", "load", "mem_bw", "power"]
    first, second = (level("load", host) for host in ("n01", "n02"))
    assert data["load"]["node"]["series"][1] == {
        "hostname": "n02",
        "statistics": {"min": second + 1, "avg": second + 5, "max": second + 9},
        "data": [None, *(second + step for step in range(1, 10))],
    }
    assert [series["id"] for series in data["flops"]["core"]["series"]] == list("01230123")
    statistics = json.loads((folder / "meta.json").read_bytes())["statistics"]
    expected = {"min": first + 1, "avg": (first + second) / 2 + 5, "max": second + 9}
    assert statistics["load"] == {"unit": {"base": "B/s", "prefix": "G"}, **expected}
    row.refresh_from_db()
    assert row.monitoring_status == MonitoringStatus.ARCHIVED
    assert json.loads(row.statistics) == statistics


@pytest.mark.django_db(transaction=True)
def test_a_store_in_trouble_leaves_the_job_waiting_with_its_reason(demo: Path, store: FakeStore) -> None:
    store.misbehave = lambda handler: respond(handler, 500, b"out of memory")
    row = finished_job()
    assert ArchiveWorker().drain().failed == 1
    row.refresh_from_db()
    assert row.monitoring_status == MonitoringStatus.ARCHIVING
    error = ArchiveTask.objects.get(pk=row.pk).error
    assert f"{store.url}/api/query: answered 500 Internal Server Error: out of memory" in error
    assert not job_folder(demo, row.key).exists()
    store.misbehave = None
    task = ArchiveTask.objects.get(pk=row.pk)
    ArchiveTask.objects.filter(pk=row.pk).update(not_before=task.not_before - timedelta(days=1))
    assert ArchiveWorker().drain().archived == 1


@pytest.mark.django_db(transaction=True)
def test_a_store_that_refuses_the_token_leaves_the_job_waiting_with_the_reason(demo: Path, store: FakeStore) -> None:
    store.misbehave = lambda handler: respond(handler, 401, b"token expired")
    row = finished_job()
    assert ArchiveWorker().drain().failed == 1
    row.refresh_from_db()
    assert row.monitoring_status == MonitoringStatus.ARCHIVING
    error = ArchiveTask.objects.get(pk=row.pk).error
    assert "answered 401 Unauthorized: token expired" in error
    assert TOKEN not in error
