"""What is drawn of a data.json: lines or a band, in which scope, with which horizontal lines."""

import json
from typing import Any

import numpy as np
import pytest

from archive.exceptions import DocumentError
from archive.format import data_document
from archive.format.cluster_json import decode_cluster
from archive.format.data_json import JobData, MetricData, Series, encode_data
from archive.plots import plots
from archive.plots.plots import Plot, PlotRequest, Plots, thresholds
from tests.support.demo_cluster import MAIN, metric

GB = {"base": "B/s", "prefix": "G"}
CLUSTER = decode_cluster(
    json.dumps(
        {
            "name": "demo",
            "metricConfig": [
                metric("power", "socket", subClusters=[{"name": "gpu", "normal": 7, "alert": 0}]),
                metric("load", "node", "avg", subClusters=[{"name": "gpu", "remove": True}]),
                metric("flops", "hwthread"),
                metric("clock", "core", "avg"),
                metric("acc_power", "accelerator"),
            ],
            "subClusters": [MAIN, {"name": "gpu", "nodes": "g1"}],
        }
    ).encode()
)


def series(count: int, length: int = 10, unit: bool = False) -> list[Series]:
    """Return series of some hosts, or of some units of one; each is one above the one before."""
    rising = np.arange(length, dtype=np.float64)
    hosts = [("n1", str(number)) if unit else (f"n{number}", None) for number in range(count)]
    return [Series(host, name, rising + number) for number, (host, name) in enumerate(hosts)]


def only(found: Plots) -> Plot:
    """Return the one plot."""
    (plot,) = found.metrics
    return plot


def of(data: JobData, **request: Any) -> Plots:
    """Return the plots of samples as an archive has them."""
    return plots.plots(encode_data(data), PlotRequest(**request))


@pytest.mark.parametrize("count", [1, 15, 16])
def test_up_to_sixteen_series_are_lines(count: int) -> None:
    plot = only(of({"load": {"node": MetricData(GB, 30, series(count))}}))
    assert (plot.name, plot.scope, plot.unit, plot.timestep, plot.series) == ("load", "node", "GB/s", 30, count)
    assert plot.band is None
    assert [line.host for line in plot.lines] == [f"n{number}" for number in range(count)]
    assert plot.lines[0].values.tolist() == list(range(10))
    assert plot.statistics == {"min": 0, "avg": 4.5 + (count - 1) / 2, "max": 9 + count - 1}


def test_more_series_are_a_band() -> None:
    plot = only(of({"load": {"node": MetricData(GB, 60, series(17))}}))
    assert (plot.lines, plot.series) == ([], 17)
    assert plot.band is not None
    assert plot.band.min.tolist() == list(range(10))
    assert plot.band.mean.tolist() == [step + 8 for step in range(10)]
    assert plot.band.max.tolist() == [step + 16 for step in range(10)]
    assert plot.statistics == {"min": 0, "avg": 12.5, "max": 25}


def test_the_samples_under_a_stored_band_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = encode_data({"load": {"node": MetricData(GB, 60, series(64))}})
    monkeypatch.delattr(data_document, "_SAMPLES")
    assert only(plots.plots(raw, PlotRequest())).band is not None


@pytest.mark.parametrize(
    "stored", [None, "gone", {"min": [1]}, {"min": [1], "mean": [1, 2], "max": [3]}, {"min": 1, "mean": 2, "max": 3}]
)
def test_a_band_that_is_not_stored_whole_is_made_of_the_samples(stored: Any) -> None:
    document = json.loads(encode_data({"load": {"node": MetricData(GB, 60, series(20))}}))
    table = document["load"]["node"]
    table["statisticsSeries"] = stored
    if stored == "gone":
        del table["statisticsSeries"]
    plot = only(plots.plots(json.dumps(document).encode(), PlotRequest()))
    assert plot.band is not None
    assert plot.band.max.tolist() == [step + 19 for step in range(10)]


def test_a_stored_band_without_statistics_beside_the_series_has_those_of_the_band() -> None:
    document = json.loads(encode_data({"load": {"node": MetricData(GB, 60, series(20))}}))
    for each in document["load"]["node"]["series"]:
        del each["statistics"]
    plot = only(plots.plots(json.dumps(document).encode(), PlotRequest()))
    assert plot.statistics == {"min": 0, "avg": 14, "max": 28}


def test_long_series_are_reduced_and_keep_their_peak() -> None:
    long = [*series(2, 5000), Series("n9", None, np.where(np.arange(5000) == 4321, 1e6, 1.0))]
    plot = only(of({"load": {"node": MetricData(GB, 60, long)}}))
    assert all(line.values.size < 700 for line in plot.lines)
    peak = plot.lines[2]
    assert peak.at is not None
    assert dict(zip(peak.at.tolist(), peak.values.tolist(), strict=True))[4321] == 1e6


@pytest.mark.parametrize("count", [2, 20])
def test_a_part_of_the_time_has_all_its_samples_and_one_more_on_each_side(count: int) -> None:
    plot = only(of({"load": {"node": MetricData(GB, 60, series(count, 5000))}}, part=(6030, 7150)))
    at, values = (plot.band.at, plot.band.min) if plot.band else (plot.lines[0].at, plot.lines[0].values)
    assert at is not None
    assert at.tolist() == values.tolist() == list(range(100, 121))
    assert plot.statistics["max"] == 4999 + count - 1  # those of the whole time


@pytest.mark.parametrize("part", [(-500, -100), (9_000_000, 9_000_060), (100, 50)])
def test_a_part_of_another_time_is_empty(part: tuple[int, int]) -> None:
    for count in (2, 20):
        plot = only(of({"load": {"node": MetricData(GB, 60, series(count, 5000))}}, part=part))
        assert (plot.band.mean if plot.band else plot.lines[0].values).size <= 1


def test_series_without_a_sample_are_left_out_and_so_is_a_metric_without_any() -> None:
    nothing = [Series("n8", None, np.full(10, np.nan)), Series("n9", None, np.array([]))]
    many = [Series(f"n{number}", None, np.full(3, np.nan)) for number in range(20)]
    found = of(
        {
            "some": {"node": MetricData(GB, 60, [*nothing, *series(1)])},
            "none": {"node": MetricData(GB, 60, nothing)},
            "many": {"node": MetricData(GB, 60, many)},
            "empty": {"node": MetricData(GB, 60, [])},
        }
    )
    assert [line.host for line in only(found).lines] == ["n0"]
    assert only(found).series == 1


def test_each_metric_comes_in_the_wanted_scope_else_in_the_coarsest() -> None:
    data: JobData = {
        "a": {"node": MetricData(GB, 60, series(1)), "core": MetricData(GB, 60, series(4, unit=True))},
        "b": {
            "accelerator": MetricData(GB, 60, series(2, unit=True)),
            "socket": MetricData(GB, 60, series(2, unit=True)),
        },
        "c": {"node": MetricData(GB, 60, series(1))},
    }
    found = of(data, scope="core")
    assert found.scopes == ["node", "socket", "core", "accelerator"]
    assert [(plot.name, plot.scope) for plot in found.metrics] == [("a", "core"), ("b", "socket"), ("c", "node")]
    assert [line.id for line in found.metrics[0].lines] == ["0", "1", "2", "3"]
    assert [plot.scope for plot in of(data).metrics] == ["node", "socket", "node"]


def test_metrics_come_in_the_order_of_cluster_json_then_by_name() -> None:
    data = {name: {"node": MetricData(GB, 60, series(1))} for name in ("zz", "load", "aa", "power")}
    assert [plot.name for plot in of(data, cluster=CLUSTER).metrics] == ["power", "load", "aa", "zz"]


@pytest.mark.parametrize(
    ("sub_cluster", "name", "scope", "found"),
    [
        ("main", "power", "node", {"normal": 50, "caution": 20, "alert": 10}),
        ("main", "power", "socket", {"normal": 25, "caution": 10, "alert": 5}),
        ("main", "flops", "core", {"normal": 12.5, "caution": 5, "alert": 2.5}),
        ("main", "flops", "hwthread", {"normal": 6.25, "caution": 2.5, "alert": 1.25}),
        ("main", "clock", "core", {"normal": 50, "caution": 20, "alert": 10}),
        ("main", "acc_power", "accelerator", {"normal": 50, "caution": 20, "alert": 10}),
        ("gpu", "power", "node", {"normal": 7, "caution": 20}),
        ("gpu", "power", "socket", {}),  # its topology is not known
        ("gpu", "load", "node", {}),
        ("", "load", "node", {"normal": 50, "caution": 20, "alert": 10}),
        ("", "power", "socket", {}),
        ("main", "unknown", "node", {}),
    ],
)
def test_thresholds_are_the_subcluster_s_own_and_a_part_of_a_node_has_its_share(
    sub_cluster: str, name: str, scope: str, found: dict[str, float]
) -> None:
    assert thresholds(CLUSTER, sub_cluster, name, scope) == found
    assert thresholds(None, sub_cluster, name, scope) == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"m":[]}',
        '{"m":{"node":{"series":[]}}}',
        '{"m":{"node":{"timestep":0,"series":[]}}}',
        '{"m":{"node":{"timestep":60,"series":[{"hostname":"n1","data":["x"]}]}}}',
        '{"m":{"node":{"timestep":60,"series":[{"hostname":"n1","data":{}}]}}}',
        '{"m":{"node":{"timestep":60,"series":[{"hostname":"n1","data":[1' + "0" * 400 + "]}]}}}",
    ],
)
def test_data_of_another_structure_is_an_error_that_says_what_was_expected(text: str) -> None:
    with pytest.raises(DocumentError, match="expected"):
        plots.plots(text.encode(), PlotRequest())


@pytest.mark.parametrize("text", ["{}", '{"m":{}}'])
def test_a_document_without_metrics_has_no_plots(text: str) -> None:
    assert plots.plots(text.encode(), PlotRequest()) == Plots([], [])


def test_what_foreign_archives_write_is_drawn_too() -> None:
    text = '{"m":{"weird":{"timestep":60.0,"unit":null,"x":1,"series":[{"hostname":"n1","id":3,"data":[1,null]}]}}}'
    plot = only(plots.plots(text.encode(), PlotRequest()))
    assert (plot.scope, plot.unit, plot.lines[0].id) == ("weird", "", "3")
