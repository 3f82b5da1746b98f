"""The prometheus source, against Debian's Prometheus with known samples, and against a server that answers as told."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pytest

from archive.clusters import decode_cluster
from archive.documents import MetricData, Resource
from archive.exceptions import SourceError
from archive.sources import JobInfo, MetricSource, get_source, prometheus, validate_config
from archive.sources.promql import PromqlTemplate
from tests.archive.http_store import LoopbackServer
from tests.paths import PROJECT

START = 1_700_000_000
GPUS = ("00000000:01:00.0", "00000000:1B:00.0")
ODD_HOST = "a\"b\\n.*|(ü)'$hosts"


def metric(name: str, scope: str = "node", aggregation: str = "avg", timestep: int = 60) -> dict[str, Any]:
    """Return an entry of metricConfig."""
    return {"name": name, "unit": {"base": "B"}, "scope": scope, "aggregation": aggregation, "timestep": timestep}


CLUSTER_JSON: dict[str, Any] = {
    "name": "demo",
    "metricConfig": [
        metric("load"),
        metric("user", "hwthread"),
        metric("power", "socket", "sum"),
        metric("acc", "accelerator"),
        metric("second", timestep=1),
        metric("unasked"),
    ],
    "subClusters": [
        {
            "name": "main",
            "nodes": "n[01-99]",
            "topology": {
                "node": [0, 1, 2, 3],
                "socket": [[0, 2], [1, 3]],
                "core": [[0, 2], [1, 3]],
                "accelerators": [{"id": gpu, "type": "GPU", "model": "A40"} for gpu in GPUS],
            },
        },
    ],
}
CLUSTER = decode_cluster(json.dumps(CLUSTER_JSON).encode())

LOAD = 'node_load1{instance=~"$hosts:9100"}'
USER = "100 * rate(node_cpu_seconds_total{mode='user', instance=~'$hosts:9100', cpu=~'$ids'}[2m])"
ACC = 'DCGM_FI_DEV_GPU_UTIL{instance=~"$hosts:9400", pci_bus_id=~"$ids"}'


GPU_LABELS = [f'9400",pci_bus_id="{gpu}"' for gpu in GPUS]
ETHERNET = [f'9100",device="{name}"' for name in ("lo", "eth0", "eth1", "ib0")]
GROWING = range(0, 3_000_000_000, 300_000_000)
EXPORTED: list[tuple[str, list[str], Sequence[float]]] = [
    ("node_memory_MemTotal_bytes", ['9100"'], [256e9] * 10),
    ("node_memory_MemAvailable_bytes", ['9100"'], [56e9] * 10),
    ("node_network_receive_bytes", ETHERNET, GROWING),
    ("node_network_transmit_bytes", ETHERNET, GROWING),
    ("node_infiniband_port_data_received_bytes", ['9100",device="mlx5_0",port="1"'], GROWING),
    ("node_infiniband_port_data_transmitted_bytes", ['9100",device="mlx5_0",port="1"'], GROWING),
    ("DCGM_FI_DEV_FB_USED", GPU_LABELS, [1000] * 10),
    ("DCGM_FI_DEV_POWER_USAGE", GPU_LABELS, [300] * 10),
]
"""Other families that exporters have: the labels of each host's series from the port on, and their values."""


def job(hosts: int | list[str] = 1, *, duration: int = 600, start: int = START, **resource: Any) -> JobInfo:
    """Return a job on the first nodes, or on some hosts."""
    names = [f"n{number:02d}" for number in range(1, hosts + 1)] if isinstance(hosts, int) else hosts
    return JobInfo(
        "demo", "main", 7, start, start + duration, [Resource(name, **resource) for name in names], len(names)
    )


def source_of(url: str, **queries: Any) -> MetricSource:
    """Return a source that asks these queries."""
    return get_source("demo", {"demo": {"kind": "prometheus", "url": url, "timeout": 20, "queries": queries}})


def ids(data: MetricData) -> list[tuple[str, str | None]]:
    """Return host and id of each series."""
    return [(series.hostname, series.id) for series in data.series]


def failure(source: MetricSource, info: JobInfo | None = None) -> SourceError:
    """Return the error that a load raises."""
    with pytest.raises(SourceError) as caught:
        source.load(info or job(), CLUSTER)
    return caught.value


def seconds(begin: int, end: int, every: int) -> Iterator[int]:
    """Yield times relative to START."""
    yield from range(begin, end, every)


def openmetrics() -> Iterator[str]:
    """Yield the samples that the server knows, a family at a time."""
    yield "# TYPE node_load1 gauge"
    for number, host in enumerate(["n01", "n02", "n010", "n01.example.org", "n01xexamplexorg", ODD_HOST]):
        quoted = host.replace("\\", "\\\\").replace('"', '\\"')
        for at in seconds(-300, 4000, 30):
            if not (host == "n02" and 570 < at < 1800):
                yield f'node_load1{{instance="{quoted}:9100",job="node"}} {1000 * number + at} {START + at}'
    yield "# TYPE node_cpu_seconds counter"
    for host in ("n01", "n02"):
        for cpu in range(4):
            for at in seconds(-300, 900, 30):
                spent = (at + 300) * (cpu + 1) / 10
                yield f'node_cpu_seconds_total{{cpu="{cpu}",mode="user",instance="{host}:9100"}} {spent} {START + at}'
    yield "# TYPE DCGM_FI_DEV_GPU_UTIL gauge"
    for host in ("n01", "n02"):
        for gpu, bus in enumerate(GPUS):
            for at in seconds(-300, 900, 30):
                labels = f'gpu="{gpu}",pci_bus_id="{bus}",instance="{host}:9400"'
                yield f"DCGM_FI_DEV_GPU_UTIL{{{labels}}} {10 * (gpu + 1)} {START + at}"
    for family, series, values in EXPORTED:
        kind, suffix = ("counter", "_total") if len(set(values)) > 1 else ("gauge", "")
        yield f"# TYPE {family} {kind}"
        for host in ("n01", "n02"):
            for rest in series:
                for at, exported in zip(seconds(0, 300, 30), values, strict=True):
                    yield f'{family}{suffix}{{instance="{host}:{rest}}} {exported} {START + at}'
    yield "# TYPE odd gauge"
    for at, value in ((30, "1"), (90, "NaN"), (150, "+Inf"), (210, "-Inf"), (270, "5")):
        yield f'odd{{instance="n01:9100"}} {value} {START + at}'
    yield "# TYPE second gauge"
    for at in seconds(0, 25_001, 1):
        yield f'second{{instance="n01:9100"}} {at} {START + at}'
    yield "# EOF\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a Prometheus that knows some samples and scrapes nothing; return its address."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    programs = [shutil.which(name, path=path) for name in ("prometheus", "promtool")]
    if not all(programs):
        pytest.skip("prometheus or promtool is not installed: make prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "samples").write_text("\n".join(openmetrics()))
    (folder / "prometheus.yml").write_text("")
    blocks = [programs[1], "tsdb", "create-blocks-from", "openmetrics", folder / "samples", folder / "data"]
    subprocess.run([str(part) for part in blocks], check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        str(programs[0]),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address={address}",
    ]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait_until_ready(f"http://{address}/-/ready", process, folder / "log")
            yield f"http://{address}"
        finally:
            process.send_signal(signal.SIGTERM)


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server answers."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310
                return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"Prometheus did not start: {log.read_text()[-2000:]}")


def test_a_sample_is_that_of_the_end_of_its_step(server: str) -> None:
    loaded = source_of(server, load=LOAD).load(job(), CLUSTER)["load"]["node"]
    assert (loaded.unit, loaded.timestep) == ({"base": "B"}, 60)
    assert ids(loaded) == [("n01", None)]
    np.testing.assert_array_equal(loaded.series[0].data, np.arange(60, 601, 60))


@pytest.mark.parametrize(("duration", "samples"), [(0, [0]), (45, [30]), (60, [60]), (119, [60]), (120, [60, 120])])
def test_even_a_job_shorter_than_a_step_has_a_sample(server: str, duration: int, samples: list[int]) -> None:
    loaded = source_of(server, load=LOAD).load(job(duration=duration), CLUSTER)
    assert loaded["load"]["node"].series[0].data.tolist() == samples


def test_steps_count_from_the_jobs_start_whatever_it_is(server: str) -> None:
    loaded = source_of(server, load=LOAD).load(job(start=START + 17, duration=130), CLUSTER)
    assert loaded["load"]["node"].series[0].data.tolist() == [60, 120]


def test_all_hosts_are_asked_for_and_those_without_samples_are_left_out(server: str) -> None:
    loaded = source_of(server, load=LOAD).load(job(["n02", "n09", "n01"]), CLUSTER)
    assert ids(loaded["load"]["node"]) == [("n02", None), ("n01", None)]
    assert loaded["load"]["node"].series[0].data[0] == 1060


def test_a_gap_is_missing_samples_from_the_end_of_the_servers_lookback_on(server: str) -> None:
    data = source_of(server, load=LOAD).load(job(2, duration=3600), CLUSTER)["load"]["node"].series[1].data
    assert np.flatnonzero(np.isnan(data)).tolist() == list(range(14, 29))
    assert data.size == 60


def test_nan_and_infinite_samples_are_missing(server: str) -> None:
    odd = 'odd{instance=~"$hosts:9100"}'
    data = source_of(server, load=odd).load(job(duration=300), CLUSTER)["load"]["node"].series[0].data
    np.testing.assert_array_equal(data, [1, np.nan, np.nan, np.nan, 5])


def test_a_series_without_any_number_is_left_out(server: str) -> None:
    assert source_of(server, load='odd{instance=~"$hosts:9100"} * NaN').load(job(), CLUSTER) == {}


def test_metrics_without_a_template_are_not_asked_for(server: str) -> None:
    source = source_of(server, load=LOAD, other=LOAD)
    assert list(source.load(job(), CLUSTER)) == ["load"]
    assert source.load(job(), CLUSTER, ["unasked", "user"]) == {}


def test_more_steps_than_prometheus_gives_at_once_are_joined(server: str) -> None:
    template = 'second{instance=~"$hosts:9100"}'
    data = source_of(server, second=template).load(job(duration=25_000), CLUSTER)["second"]["node"].series[0].data
    np.testing.assert_array_equal(data, np.arange(1, 25_001))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_both_methods_work(server: str, method: str) -> None:
    entry = {"kind": "prometheus", "url": server, "method": method, "queries": {"load": LOAD}}
    assert "load" in get_source("demo", {"demo": entry}).load(job(), CLUSTER)


@pytest.mark.parametrize("host", ["n01.example.org", ODD_HOST])
@pytest.mark.parametrize("quote", ['"', "'"])
def test_a_host_name_is_matched_as_it_is(server: str, host: str, quote: str) -> None:
    loaded = source_of(server, load=LOAD.replace('"', quote)).load(job([host]), CLUSTER)
    assert ids(loaded["load"]["node"]) == [(host, None)]
    assert loaded["load"]["node"].series[0].data[0] % 1000 == 60


def test_a_host_name_that_is_an_expression_matches_no_other_host(server: str) -> None:
    for name in ("n0.", ".*", "n01|n02", 'n01:9100"} or node_load1{instance=~"n01', "n01)|(?P<x>n02"):
        assert source_of(server, load=LOAD).load(job([name]), CLUSTER) == {}


def test_what_surrounds_the_host_in_the_label_is_the_operators_to_say(server: str) -> None:
    template = 'node_load1{job="node", instance=~"$hosts[.]example[.]org(:[0-9]+)?"} # whole names'
    loaded = source_of(server, load=template).load(job(), CLUSTER)
    assert ids(loaded["load"]["node"]) == [("n01", None)]
    assert loaded["load"]["node"].series[0].data[0] == 3060


def test_hwthreads_become_cores_and_the_node(server: str) -> None:
    loaded = source_of(server, user={"hwthread": USER}).load(job(2), CLUSTER)
    assert sorted(loaded["user"]) == ["core", "node"]
    assert ids(loaded["user"]["core"]) == [("n01", "0"), ("n01", "1"), ("n02", "0"), ("n02", "1")]
    for series, value in zip(loaded["user"]["core"].series, (20, 30, 20, 30), strict=True):
        np.testing.assert_allclose(series.data, np.full(10, value))
    assert ids(loaded["user"]["node"]) == [("n01", None), ("n02", None)]
    np.testing.assert_allclose(loaded["user"]["node"].series[1].data, np.full(10, 25))


def test_a_job_gets_the_units_that_are_its_own(server: str) -> None:
    resources = [Resource("n01", [0, 1], [GPUS[0]]), Resource("n02", [3], [GPUS[1]])]
    info = JobInfo("demo", "main", 7, START, START + 600, resources, 2)
    loaded = source_of(server, user={"hwthread": USER}, acc={"accelerator": ACC}).load(info, CLUSTER)
    assert ids(loaded["user"]["core"]) == [("n01", "0"), ("n01", "1"), ("n02", "1")]
    assert [round(series.data[0]) for series in loaded["user"]["core"].series] == [10, 20, 40]
    assert [round(series.data[0]) for series in loaded["user"]["node"].series] == [15, 40]
    assert ids(loaded["acc"]["accelerator"]) == [("n01", GPUS[0]), ("n02", GPUS[1])]
    assert [series.data[0] for series in loaded["acc"]["node"].series] == [10, 20]


def test_sums_are_made_where_cluster_json_says_sum(server: str) -> None:
    template = f'label_replace({USER}, "old", "$$1", "cpu", "(.*)")'
    loaded = source_of(server, power={"socket": template}).load(job(), CLUSTER)
    assert [round(series.data[0]) for series in loaded["power"]["socket"].series] == [10, 20]
    assert round(loaded["power"]["node"].series[0].data[0]) == 30


def test_the_node_has_its_own_template_where_one_is_given(server: str) -> None:
    node = 'max by (instance) (DCGM_FI_DEV_GPU_UTIL{instance=~"$hosts:9400"})'
    source = source_of(server, acc={"node": node, "accelerator": ACC})
    loaded = source.load(job(accelerators=list(GPUS)), CLUSTER)
    assert [series.data[0] for series in loaded["acc"]["accelerator"].series] == [10, 20]
    assert [series.data[0] for series in loaded["acc"]["node"].series] == [20]


def test_a_finer_template_of_another_scope_than_cluster_jsons_makes_the_node_alone(server: str) -> None:
    loaded = source_of(server, load={"hwthread": USER}).load(job(), CLUSTER)
    assert sorted(loaded["load"]) == ["node"]
    assert round(loaded["load"]["node"].series[0].data[0]) == 25


def test_the_example_of_the_documentation_works(server: str) -> None:
    page = (PROJECT / "docs/configuration.md").read_text()
    (text,) = [text for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL) if '"prometheus"' in text]
    entries = json.loads(text)
    assert validate_config(entries) == []
    queries = entries["*"]["queries"]
    scopes = {"cpu_user": "hwthread", "acc_utilization": "accelerator", "acc_power": "accelerator"}
    metrics = [metric(name, scopes.get(name, "node")) for name in queries]
    cluster = decode_cluster(json.dumps(CLUSTER_JSON | {"metricConfig": metrics}).encode())
    loaded = source_of(server, **queries).load(job(2, duration=300, accelerators=list(GPUS)), cluster)
    found = {name: [round(float(series.data[-1]), 3) for series in loaded[name]["node"].series] for name in loaded}
    assert found == {
        "cpu_load": [300, 1300],
        "cpu_user": [25, 25],
        "mem_used": [200, 200],
        "net_bw": [40, 40],
        "ib_bw": [20, 20],
        "acc_utilization": [15, 15],
        "acc_mem_used": [1.049, 1.049],
        "acc_power": [300, 300],
    }
    assert {name: sorted(each) for name, each in loaded.items() if len(each) > 1} == {
        "cpu_user": ["core", "node"],
        "acc_utilization": ["accelerator", "node"],
        "acc_power": ["accelerator", "node"],
    }


def test_prometheus_own_words_are_told_with_the_metric(server: str) -> None:
    error = failure(source_of(server, load=f"{LOAD} +"))
    assert not error.transient
    assert str(error).startswith(f"metric load: {server}/api/v1/query_range: answered 400 Bad Request: bad_data: ")
    assert "parse error" in str(error)


def test_more_than_one_series_of_a_host_is_refused_with_both(server: str) -> None:
    error = failure(source_of(server, acc='DCGM_FI_DEV_GPU_UTIL{instance=~"$hosts:9400"}'), job(2))
    assert not error.transient
    words = [f'pci_bus_id="{gpu}"' for gpu in GPUS] + ["metric acc", "n01", "must aggregate"]
    assert [word for word in words if word not in str(error)] == []
    assert "_host" not in str(error)


def test_more_than_one_series_of_a_unit_is_refused_with_both(server: str) -> None:
    twice = 'DCGM_FI_DEV_GPU_UTIL{instance=~"$hosts:9400", pci_bus_id=~"$ids"}'
    template = f'{twice} or label_replace({twice}, "copy", "yes", "gpu", ".*")'
    error = failure(source_of(server, acc={"accelerator": template}), job(accelerators=list(GPUS)))
    assert f"n01 {GPUS[0]} has more than one series" in str(error)


@pytest.mark.parametrize(
    ("template", "label"),
    [(f"sum({LOAD})", "instance"), ({"accelerator": f"sum by (instance) ({ACC})"}, "pci_bus_id")],
)
def test_a_series_that_lost_its_label_is_refused_by_name(server: str, template: Any, label: str) -> None:
    error = failure(source_of(server, acc=template), job(accelerators=list(GPUS)))
    assert not error.transient
    assert f"expected every series with its label {label}, as with by ({label})" in str(error)


class FakePrometheus(LoopbackServer):
    """Has a sample of every host at every step, its time; `result` replaces that by something else."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[dict[str, str]] = []
        self.result: list[Any] | None = None
        self.warnings: list[str] = []

    def body(self, request: bytes) -> bytes:
        """Return the answer to one form."""
        self.forms.append({key: value for key, (value,) in parse_qs(request.decode()).items()})
        data = {"resultType": "matrix", "result": self._series() if self.result is None else self.result}
        return json.dumps({"status": "success", "data": data, "warnings": self.warnings}).encode()

    def _series(self) -> list[dict[str, Any]]:
        form = self.forms[-1]
        start, end, step = (int(form[key]) for key in ("start", "end", "step"))
        hosts = form["query"].split("(?P<hosts>")[1].split(")")[0].split("|")
        values = [[when, str(when)] for when in range(start, end + 1, step)]
        return [{"metric": {"_host": host}, "values": values} for host in hosts]


@pytest.fixture
def fake() -> Iterator[FakePrometheus]:
    """Return a server on loopback that answers as told."""
    with FakePrometheus() as listening:
        yield listening


def test_a_metric_of_a_big_job_is_one_request(fake: FakePrometheus) -> None:
    loaded = source_of(fake.url, load=LOAD).load(job(64, duration=86_400), CLUSTER)
    assert len(fake.forms) == 1
    assert len(loaded["load"]["node"].series) == 64
    (form,) = fake.forms
    assert {key: form[key] for key in ("start", "end", "step")} == {
        "start": str(START + 60),
        "end": str(START + 86_400),
        "step": "60",
    }


def test_requests_are_bounded_in_hosts_steps_and_samples(fake: FakePrometheus, monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_of(fake.url, load=LOAD)
    whole = source.load(job(10, duration=6000), CLUSTER)["load"]["node"].series
    fake.forms.clear()
    monkeypatch.setattr(prometheus, "MAX_HOSTS", 4)
    monkeypatch.setattr(prometheus, "MAX_SAMPLES", 120)
    monkeypatch.setattr(prometheus, "MAX_STEPS", 50)
    parts = source.load(job(10, duration=6000), CLUSTER)["load"]["node"].series
    sizes = [(form["query"].split(")")[0].count("|") + 1, samples_of(form)) for form in fake.forms]
    assert sizes == [(4, 30), (4, 30), (4, 30), (4, 10)] * 2 + [(2, 50), (2, 50)]
    assert [(one.hostname, one.data.tolist()) for one in parts] == [(one.hostname, one.data.tolist()) for one in whole]


def samples_of(form: dict[str, str]) -> int:
    """Return how many samples per series a form asks for."""
    return (int(form["end"]) - int(form["start"])) // int(form["step"]) + 1


@pytest.mark.parametrize(("nodes", "scopes"), [(8, ["accelerator", "node"]), (9, ["node"])])
def test_finer_scopes_are_there_for_jobs_of_up_to_eight_nodes(
    fake: FakePrometheus, nodes: int, scopes: list[str]
) -> None:
    fake.result = [{"metric": {"_host": "n01", "_id": "0"}, "values": [[START + 60, "1"]]}]
    info = job(nodes, accelerators=["0"])
    assert sorted(source_of(fake.url, acc={"accelerator": ACC}).load(info, CLUSTER)["acc"]) == scopes
    fake.forms.clear()
    assert sorted(source_of(fake.url, acc={"accelerator": ACC, "node": LOAD}).load(info, CLUSTER)["acc"]) == scopes
    assert len(fake.forms) == len(scopes), "what is not archived is not asked for"


def test_hosts_without_units_are_not_asked_for(fake: FakePrometheus) -> None:
    assert source_of(fake.url, acc={"accelerator": ACC}).load(job(2), CLUSTER) == {}
    assert fake.forms == []


def test_a_step_at_which_a_unit_is_missing_is_missing_in_the_node(fake: FakePrometheus) -> None:
    values = {"0": [[START + 60, "1"], [START + 120, "2"]], "1": [[START + 60, "3"]], "2": []}
    fake.result = [{"metric": {"_host": "n01", "_id": unit}, "values": values[unit]} for unit in values]
    info = job(duration=120, accelerators=["0", "1", "2"])
    loaded = source_of(fake.url, acc={"accelerator": ACC}).load(info, CLUSTER)["acc"]
    assert ids(loaded["accelerator"]) == [("n01", "0"), ("n01", "1")]
    np.testing.assert_array_equal(loaded["node"].series[0].data, [2, np.nan])


def test_nothing_is_sent_for_no_metric(fake: FakePrometheus) -> None:
    assert source_of(fake.url, load=LOAD).load(job(), CLUSTER, []) == {}
    assert fake.calls == []


def test_cluster_and_job_id_are_put_in(fake: FakePrometheus) -> None:
    template = 'x{cluster="$cluster", jobid="${job_id}", instance=~"$hosts"}'
    source_of(fake.url, load=template).load(job(), CLUSTER)
    assert 'x{cluster="demo", jobid="7", instance=~"(?P<hosts>n01)"}' in fake.forms[0]["query"]


def test_too_many_points_are_permanent(fake: FakePrometheus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "MAX_POINTS", 25)
    source = source_of(fake.url, load=LOAD)
    assert source.load(job(2), CLUSTER)
    error = failure(source, job(3))
    assert "too many points for one job: more than 25 samples" in str(error)
    assert not error.transient


@pytest.mark.parametrize(
    "series",
    [
        {},
        {"metric": {"_host": 1}},
        {"metric": {"_host": "n01"}, "values": [1]},
        {"metric": {"_host": "n01"}, "values": [[START + 60, 1]]},
        {"metric": {"_host": "n01"}, "values": [[START + 60, "one"]]},
        {"metric": {"_host": "n01"}, "values": [[START, "1"]]},
        {"metric": {"_host": "n01"}, "values": [[START + 61, "1"]]},
        {"metric": {"_host": "n01"}, "values": [[START + 660, "1"]]},
    ],
)
def test_a_series_of_another_shape_is_transient(fake: FakePrometheus, series: Any) -> None:
    fake.result = [series]
    error = failure(source_of(fake.url, load=LOAD))
    assert "the answer is not what was expected" in str(error)
    assert error.transient


def test_a_job_without_any_sample_and_warnings_of_the_server_are_logged_once(
    fake: FakePrometheus, caplog: pytest.LogCaptureFixture
) -> None:
    fake.result = []
    fake.warnings = ["a store is away"]
    assert source_of(fake.url, load=LOAD).load(job(200), CLUSTER) == {}
    assert len(fake.forms) == 4
    assert f"{fake.url}/api/v1/query_range: job 7 of demo: there is no sample of load" in caplog.text
    assert caplog.text.count("a store is away") == 1


def test_values_cannot_leave_their_group() -> None:
    query = PromqlTemplate(LOAD).query(['"})|', "n-.1"], [], "demo", 7)
    assert query.count('"(?P<hosts>' + r"\\x{22}\\x{7d}\\x{29}\\x{7c}|n-\\x{2e}1" + '):9100"') == 2


GOOD: dict[str, Any] = {"kind": "prometheus", "url": "http://h:9090", "queries": {"load": LOAD}}


@pytest.mark.parametrize(
    "query",
    [
        LOAD,
        {"node": LOAD},
        {"accelerator": ACC},
        {"node": LOAD, "hwthread": USER},
        f"{LOAD} / on (instance) x{{instance =~ '${{hosts}}:9100'}}",
        f'label_replace({LOAD}, "a", "$$1", "b", "(.*)")',
    ],
)
def test_a_good_template_is_taken(query: Any) -> None:
    assert validate_config({"*": GOOD | {"queries": {"load": query}}}) == []


@pytest.mark.parametrize(
    ("query", "word"),
    [
        (3, "3: expected a PromQL query"),
        (None, "None: expected a PromQL query"),
        ("", "$hosts: expected in a matcher"),
        ("node_load1", "$hosts: expected in a matcher"),
        ('node_load1{instance="$hosts:9100"}', "$hosts: expected in a matcher"),
        (f'{LOAD} + x{{instance!~"$hosts"}}', "$hosts: expected in a matcher"),
        (LOAD.replace("$hosts", "$host"), "$host is unknown"),
        (LOAD.replace("$hosts", "$Hosts"), "$Hosts is unknown"),
        (f'label_replace({LOAD}, "a", "$1", "b", "(.*)")', '\'$1", "b", \': expected a name after the $, or $$'),
        (ACC, "$ids: expected in scopes below node only"),
        ({}, "scopes none"),
        ({"core": USER, "hwthread": USER}, "scopes core, hwthread"),
        ({"gpu": ACC}, "scope 'gpu'"),
        ({"accelerator": LOAD}, "accelerator: $ids: expected in a matcher"),
        ({"accelerator": [ACC]}, "accelerator: ["),
    ],
)
def test_a_bad_template_is_named(query: Any, word: str) -> None:
    messages = validate_config({"*": GOOD | {"queries": {"load": LOAD, "bad": query}}})
    assert [message for message in messages if word in message and "queries, 'bad': " in message]
    assert not [message for message in messages if "'load'" in message]


@pytest.mark.parametrize("queries", [None, {}, [], LOAD])
def test_queries_are_required(queries: Any) -> None:
    (message,) = validate_config({"*": GOOD | {"queries": queries}})
    assert f"queries {queries!r}: expected an object" in message
