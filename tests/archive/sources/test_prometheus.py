"""The prometheus source against Debian's Prometheus with known samples."""

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from archive.format.cluster_json import decode_cluster
from archive.format.meta_json import Resource
from archive.sources import get_source, validate_config
from archive.sources.base import JobInfo
from tests.support.paths import PROJECT
from tests.support.prometheus_server import ODD_HOST, running_prometheus
from tests.support.prometheus_source import (
    ACC,
    CLUSTER,
    CLUSTER_JSON,
    GPUS,
    LOAD,
    START,
    USER,
    failure,
    ids,
    job,
    metric,
    source_of,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a Prometheus that knows some samples."""
    with running_prometheus(tmp_path_factory.mktemp("prometheus")) as address:
        yield address


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
