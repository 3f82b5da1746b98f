"""Numbers worked out by hand."""

import gzip
import json
from typing import Any

import numpy as np
import pytest

from archive.format.cluster_json import Cluster, MetricConfig
from archive.format.data_json import JobData, MetricData, Series, decode_data, encode_data, job_statistics
from archive.format.statistics import combined_statistics, series_statistics, statistics_series
from tests.support.paths import SHARED

NAN = float("nan")


def node_data(*samples: list[float], scope: str = "node") -> JobData:
    """Return one metric, one host per list of samples."""
    series = [Series(f"n{number}", None, np.array(values)) for number, values in enumerate(samples)]
    return {"mem_bw": {scope: MetricData({"base": "B/s"}, 60, series)}}


def test_a_series_has_its_minimum_average_and_maximum() -> None:
    assert series_statistics([np.array([1.0, 2.0, 6.0])]) == [(1.0, 3.0, 6.0)]


def test_missing_samples_do_not_count() -> None:
    assert series_statistics([np.array([NAN, 2.0, np.inf, 4.0, -np.inf])]) == [(2.0, 3.0, 4.0)]


@pytest.mark.parametrize("samples", [[], [NAN], [np.inf, NAN]])
def test_a_series_without_samples_has_no_statistics(samples: list[float]) -> None:
    assert series_statistics([np.array(samples)]) == [None]


def test_an_average_never_lies_outside_the_extremes() -> None:
    for size in range(1, 200):
        (statistics,) = series_statistics([np.full(size, 0.1)])
        assert statistics == (0.1, 0.1, 0.1)
        steps = statistics_series([np.array([0.1])] * size)
        assert steps["mean"].tolist() == [0.1]
        assert combined_statistics([statistics] * size) == (0.1, 0.1, 0.1)


def test_statistics_per_step_are_as_long_as_the_longest_series() -> None:
    steps = statistics_series([np.array([1.0, 2.0, NAN, NAN]), np.array([3.0]), np.array([]), np.array([NAN, 4.0])])
    np.testing.assert_array_equal(steps["min"], [1.0, 2.0, NAN, NAN])
    np.testing.assert_array_equal(steps["mean"], [2.0, 3.0, NAN, NAN])
    np.testing.assert_array_equal(steps["max"], [3.0, 4.0, NAN, NAN])


def test_statistics_per_step_of_no_series_are_empty() -> None:
    assert {key: values.tolist() for key, values in statistics_series([]).items()} == {"min": [], "mean": [], "max": []}


def test_a_job_has_the_mean_of_the_averages_and_the_extremes_of_its_nodes() -> None:
    statistics = job_statistics(node_data([1.0, 3.0], [4.0, 4.0, 10.0, 10.0, 7.0, 7.0]), None)
    assert statistics == {"mem_bw": {"unit": {"base": "B/s"}, "avg": 4.5, "min": 1.0, "max": 10.0}}
    assert list(statistics["mem_bw"]) == ["unit", "avg", "min", "max"]


def test_a_node_without_samples_is_left_out() -> None:
    statistics = job_statistics(node_data([2.0, 4.0], [NAN, NAN], []), None)
    assert statistics["mem_bw"]["avg"] == 3.0
    assert statistics["mem_bw"]["min"] == 2.0


def test_a_metric_without_any_sample_has_no_statistics() -> None:
    assert job_statistics(node_data([NAN], []), None) == {}
    assert job_statistics({}, None) == {}


def test_only_series_of_scope_node_count() -> None:
    document = node_data([1.0])
    document["mem_bw"]["socket"] = node_data([100.0], scope="socket")["mem_bw"]["socket"]
    assert job_statistics(document, None)["mem_bw"]["max"] == 1.0
    assert job_statistics(node_data([1.0], scope="socket"), None) == {}


def test_the_unit_is_that_of_the_cluster_file_else_that_of_the_data() -> None:
    unit = {"base": "B/s", "prefix": "G"}
    config = MetricConfig("mem_bw", unit, "socket", "sum", 60, 1, 1, 1, 1)
    assert job_statistics(node_data([1.0]), Cluster("c", (config,), ()))["mem_bw"]["unit"] == unit
    assert job_statistics(node_data([1.0]), Cluster("c", (), ()))["mem_bw"]["unit"] == {"base": "B/s"}


def test_metrics_come_by_name() -> None:
    document = {name: node_data([1.0])["mem_bw"] for name in ("z", "a", "m")}
    assert list(job_statistics(document, None)) == ["a", "m", "z"]


def test_many_series_have_the_statistics_that_each_has_alone() -> None:
    random = np.random.default_rng(5)
    series = [random.normal(0, 1e6, length) for length in (7, 7, 7, 0, 1440, 3) for _ in range(50)]
    for samples in series[::3]:
        samples[random.random(samples.size) < 0.3] = NAN
    for samples, statistics in zip(series, series_statistics(series), strict=True):
        present = samples[~np.isnan(samples)]
        if not present.size:
            assert statistics is None
            continue
        assert statistics is not None
        assert (statistics.min, statistics.max) == (present.min(), present.max())
        assert statistics.avg == pytest.approx(present.mean(), rel=1e-12)


def test_the_numbers_of_a_real_archived_job_are_found_again() -> None:
    """Its own are rounded to two decimals; two of them do not follow from its samples (docs/archive-format.md)."""
    folder = SHARED / "samples/archive/emmy/1403/244/1608923076"
    if not folder.is_dir():
        pytest.skip("the shared samples are not here")
    raw = gzip.decompress((folder / "data.json.gz").read_bytes())
    document, data = json.loads(raw), decode_data(raw)
    rounding = 0.005 + 1e-9
    compared = 0
    for name, scopes in data.items():
        for scope, metric in scopes.items():
            for stored, statistics in zip(document[name][scope]["series"], metric.statistics, strict=True):
                if name == "ipc":
                    assert "statistics" not in stored
                    continue
                assert statistics is not None
                for key, value in stored["statistics"].items():
                    assert getattr(statistics, key) == pytest.approx(value or 0, abs=rounding)
                    compared += 1
    assert compared == 8 * 32 * 3
    ours, theirs = job_statistics(data, None), json.loads((folder / "meta.json").read_bytes())["statistics"]
    differing = {
        (name, key): (round(ours[name][key], 2), round(theirs[name][key] or 0, 2))
        for name in theirs
        for key in ("min", "avg", "max")
        if ours[name][key] != pytest.approx(theirs[name][key] or 0, abs=2 * rounding)
    }
    assert differing == {
        ("ipc", "avg"): (1.57, 1.54),
        ("ipc", "max"): (2.56, 0.51),
        ("rapl_power", "avg"): (227.99, 228.07),
    }


DCGM = [2**31 - 16, 2**47, 2**47 * 100, 2**63 - 16]
"""DCGM_INT32_BLANK, DCGM_FP64_BLANK, the same as a percentage, DCGM_INT64_BLANK (dcgm_structs.h)."""


@pytest.mark.parametrize("blank", [number + reason for number in DCGM for reason in range(4)])
@pytest.mark.parametrize("length", [3, 100])
def test_samples_that_stand_for_no_value_count_as_missing(blank: int, length: int) -> None:
    samples = np.full(length, 2.0)
    samples[1:3] = blank, 5
    (statistics,) = series_statistics([samples])
    assert statistics is not None
    assert (statistics.min, statistics.max) == (2, 5)
    assert statistics.avg == pytest.approx((2 * length + 1) / (length - 1))
    assert series_statistics([np.array([blank, NAN])]) == [None]
    steps = statistics_series([samples, np.full(length, 4.0)])
    assert (steps["min"][1], steps["mean"][1], steps["max"][1]) == (4, 4, 4)
    assert np.isnan(statistics_series([samples])["max"][1])
    (series,) = json.loads(encode_data(node_data([2.0, float(blank)])))["mem_bw"]["node"]["series"]
    assert series["data"] == [2, float(blank)], "kept as they came"


@pytest.mark.parametrize("number", [2**31, 2**31 - 32, 1e14, 1e15, 2**63 * 2.0, -(2.0**63), 0.0])
def test_other_large_numbers_are_samples(number: float) -> None:
    assert series_statistics([np.array([number, 1.0])])[0] == (min(number, 1), (number + 1) / 2, max(number, 1))


def test_blanks_are_those_of_the_setting(settings: Any) -> None:
    settings.METRIC_BLANKS = (-1.0, 7.0)
    assert series_statistics([np.array([-1.0, 3.0, 7.0, 2.0**63])]) == [(3.0, (2.0**63 + 3) / 2, 2.0**63)]
    settings.METRIC_BLANKS = ()
    assert series_statistics([np.array([-1.0, 2.0**63])])[0] == (-1, (2.0**63 - 1) / 2, 2.0**63)
