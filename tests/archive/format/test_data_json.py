"""meta.json read tolerantly, data.json written and handed out in parts."""

import gzip
import json
from typing import Any

import numpy as np
import pytest

from archive.exceptions import DocumentError
from archive.format import meta_json
from archive.format.data_json import (
    JobData,
    MetricData,
    Series,
    decode_data,
    default_scopes,
    encode_data,
    select_data,
    select_map,
)
from archive.format.meta_json import Resource, TagName, decode_meta
from tests.support.paths import SHARED

SAMPLES = SHARED / "samples"

META: dict[str, Any] = {"jobId": 5, "cluster": "fritz", "startTime": 1649723812}


def meta(**keys: Any) -> bytes:
    """Return a meta.json with these keys beside the required ones."""
    return json.dumps({**META, **keys}).encode()


def data(*samples: list[float], scope: str = "node") -> JobData:
    """Return one metric with a series per list of samples."""
    series = [Series(f"n{number:02d}", None, np.array(values)) for number, values in enumerate(samples)]
    return {"cpu_load": {scope: MetricData({"base": ""}, 60, series)}}


def encoded(document: JobData, scope: str = "node") -> dict[str, Any]:
    """Return the metric of `data` as it stands in data.json."""
    result: dict[str, Any] = json.loads(encode_data(document))["cpu_load"][scope]
    return result


def test_every_key_of_a_meta_file_finds_its_place() -> None:
    read = decode_meta(
        meta(
            id=7, user="alice", project="bio", subCluster="main", partition="work", arrayJobId=4, numNodes=2,
            numHwthreads=8, numAcc=1, exclusive=2, monitoringStatus=3, smt=4, jobState="timeout", duration=600,
            walltime=3600, tags=[{"id": 1, "type": "class", "name": "io"}], metaData={"jobName": "x", "note": None},
            resources=[{"hostname": "f1", "hwthreads": [0, 1], "accelerators": ["00:01", 2], "configuration": "c"}],
            statistics={},
        )
    )  # fmt: skip
    assert (read.id, read.job_id, read.user, read.project, read.cluster) == (7, 5, "alice", "bio", "fritz")
    assert (read.sub_cluster, read.partition, read.array_job_id, read.num_nodes) == ("main", "work", 4, 2)
    assert (read.num_hwthreads, read.num_acc, read.exclusive, read.monitoring_status) == (8, 1, 2, 3)
    assert (read.smt, read.job_state, read.duration, read.walltime) == (4, "timeout", 600, 3600)
    assert read.tags == [TagName("class", "io", 1)]
    assert read.resources == [Resource("f1", [0, 1], ["00:01", "2"], "c")]
    assert read.meta_data == {"jobName": "x", "note": None}
    assert read.start_time == 1649723812
    assert bytes(read.statistics) == b"{}"


@pytest.mark.parametrize(
    "keys",
    [
        {"numNodes": 2},
        {"numNodes": 2.0, "smt": "4", "metaData": {"a": "null", "b": None, "c": "1"}, "stopTime": 5},
        {"numNodes": 1, "tags": [{"id": 3, "type": "ä", "name": "b"}], "concurrentJobs": {"items": None, "count": 0}},
        {
            "numNodes": 1,
            "resources": [{"hostname": "a", "hwthreads": [1.0]}],
            "statistics": {"m": {"avg": 1.50}},
            "id": 7,
        },
    ],
)
def test_the_short_way_for_usual_files_reads_the_same_values(keys: dict[str, Any]) -> None:
    raw = meta(**keys)
    short, long = meta_json._decode_exact(raw), meta_json._decode_any(raw)
    assert short is not None
    for name in long.__struct_fields__:
        values = [getattr(read, name) for read in (short, long)]
        assert values[0] == values[1] or [bytes(value) for value in values] == [b'{"m": {"avg": 1.5}}'] * 2, name


@pytest.mark.parametrize("key", ["numnodes", "energy", "Statistics"])
def test_the_short_way_leaves_what_it_does_not_know(key: str) -> None:
    assert meta_json._decode_exact(meta(numNodes=1, **{key: 1})) is None


def test_missing_optional_keys_have_defaults_and_null_counts_as_missing() -> None:
    bare, nulls = decode_meta(meta()), decode_meta(meta(tags=None, resources=None, exclusive=None, statistics=None))
    assert bare == nulls
    assert (bare.exclusive, bare.monitoring_status, bare.meta_data, bytes(bare.statistics)) == (1, None, None, b"{}")


def test_the_number_of_nodes_is_that_of_the_resources_where_the_file_does_not_say() -> None:
    hosts = [{"hostname": "a"}, {"hostname": "b", "hwthreads": None}]
    assert decode_meta(meta(resources=hosts)).num_nodes == 2
    assert decode_meta(meta(resources=hosts, numNodes=5)).num_nodes == 5


def test_unknown_keys_are_ignored_at_every_level() -> None:
    read = decode_meta(meta(stopTime=5, footprint={"a": [1]}, resources=[{"hostname": "a", "rack": 3}]))
    assert read.resources == [Resource("a")]


def test_keys_are_matched_without_regard_to_case_except_inside_metadata() -> None:
    raw = b"""{"JOBID": 5, "Cluster": "fritz", "starttime": 9, "metadata": {"JobName": "x", "jobname": "y"},
               "Resources": [{"HostName": "a", "hwThreads": [1]}], "tags": [{"Type": "t", "NAME": "n"}]}"""
    read = decode_meta(raw)
    assert (read.job_id, read.start_time) == (5, 9)
    assert read.meta_data == {"JobName": "x", "jobname": "y"}
    assert read.resources == [Resource("a", [1])]
    assert read.tags == [TagName("t", "n")]


def test_the_exact_spelling_of_a_key_wins() -> None:
    assert decode_meta(b'{"jobId": 5, "jobid": 6, "cluster": "c", "startTime": 1}').job_id == 5
    assert decode_meta(b'{"jobid": 6, "jobId": 5, "cluster": "c", "startTime": 1}').job_id == 5


@pytest.mark.parametrize(("shared", "exclusive"), [("none", 1), ("single_user", 2), ("multi_user", 0), ("", 3)])
def test_shared_of_newer_archives_wins_over_exclusive_unless_empty(shared: str, exclusive: int) -> None:
    assert decode_meta(meta(shared=shared, exclusive=3)).exclusive == exclusive


def test_whole_floats_are_integers() -> None:
    raw = b'{"jobId": 5.0, "cluster": "c", "startTime": 1649723812.0, "duration": 1e3}'
    read = decode_meta(raw)
    assert (read.job_id, read.start_time, read.duration) == (5, 1649723812, 1000)
    assert type(read.duration) is int


def test_statistics_keep_the_numbers_as_they_are_written() -> None:
    text = b'{ "ipc": {"max": 0.510204081632653, "min": 0.0, "avg": 1e2, "x": 12345678901234567890123} }'
    raw = b'{"statistics": ' + text + b', "jobId": 5, "cluster": "c", "startTime": 1}'
    assert bytes(decode_meta(raw).statistics) == text


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"jobId": 0}, ["jobId", "0", "above zero"]),
        ({"jobId": -3}, ["jobId", "-3", "above zero"]),
        ({"startTime": 0}, ["startTime", "0", "above zero"]),
        ({"jobId": "many"}, ["jobId", "many", "integer"]),
        ({"jobId": 2**63}, ["jobId", str(2**63)]),
        ({"duration": 1.5}, ["duration", "1.5", "whole seconds"]),
        ({"jobId": None}, ["jobId", "missing"]),
        ({"cluster": None}, ["cluster", "missing"]),
        ({"startTime": None}, ["startTime", "missing"]),
        ({"cluster": "../up"}, ["cluster", "../up"]),
        ({"cluster": ""}, ["cluster", "''"]),
        ({"user": 5}, ["user", "5", "text"]),
        ({"shared": "some"}, ["shared", "some", "multi_user"]),
        ({"resources": [{"hwthreads": [1]}]}, ["resources", "hostname"]),
        ({"resources": {"a": 1}}, ["resources", "list"]),
        ({"tags": [{"type": "t"}]}, ["tags", "name"]),
        ({"metaData": {"a": 5}}, ["metaData", "texts"]),
        ({"statistics": [1]}, ["statistics", "object"]),
    ],
)
def test_a_wrong_value_is_an_error_that_names_key_value_and_expectation(keys: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(DocumentError) as caught:
        decode_meta(meta(**keys))
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b'{"jobId": 5', b'{"user": "\xff", "jobId": 1}', b'{"\xff": 1}']
)
def test_a_meta_file_that_is_no_json_object_is_an_error(raw: bytes) -> None:
    with pytest.raises(DocumentError, match=r"meta\.json"):
        decode_meta(raw)


@pytest.mark.parametrize(
    ("name", "job_id"),
    [("archive/emmy/1403/244/1608923076/meta.json", 1403244), ("import/meta-fritz-minimal.json", 398764)],
)
def test_the_sample_meta_files_are_read(name: str, job_id: int) -> None:
    if not (SAMPLES / name).exists():
        pytest.skip(f"no sample {SAMPLES / name}")
    raw = (SAMPLES / name).read_bytes()
    read = decode_meta(raw)
    assert read.job_id == job_id
    assert len(read.resources) == read.num_nodes
    assert json.loads(bytes(read.statistics)) == json.loads(raw)["statistics"]


def test_a_data_file_has_the_keys_of_the_format_in_their_order() -> None:
    unit = {"base": "B/s", "prefix": "G"}
    series = [Series("n1", "0", np.array([1.0, np.nan, 4.0]))]
    raw = encode_data({"mem_bw": {"socket": MetricData(unit, 60, series)}})
    assert raw == (
        b'{"mem_bw":{"socket":{"unit":{"base":"B/s","prefix":"G"},"timestep":60,"series":[{"hostname":"n1","id":"0",'
        b'"statistics":{"min":1.0,"avg":2.5,"max":4.0},"data":[1.0,null,4.0]}]}}}'
    )


def test_a_series_of_a_whole_node_has_no_id() -> None:
    assert list(encoded(data([1.0]))["series"][0]) == ["hostname", "statistics", "data"]


def test_nan_and_infinite_numbers_become_null() -> None:
    series = encoded(data([np.nan, np.inf, -np.inf, 2.0]))["series"][0]
    assert series["data"] == [None, None, None, 2.0]
    assert series["statistics"] == {"min": 2.0, "avg": 2.0, "max": 2.0}


@pytest.mark.parametrize("samples", [[], [np.nan, np.nan]])
def test_a_series_without_any_sample_has_no_statistics(samples: list[float]) -> None:
    series = encoded(data(samples))["series"][0]
    assert "statistics" not in series
    assert series["data"] == [None] * len(samples)


def test_statistics_per_time_step_come_from_sixteen_series_on() -> None:
    assert "statisticsSeries" not in encoded(data(*[[1.0]] * 15))
    assert encoded(data(*[[1.0]] * 16))["statisticsSeries"] == {"min": [1.0], "mean": [1.0], "max": [1.0]}


def test_statistics_per_time_step_ignore_gaps_and_shorter_series() -> None:
    samples = [[1.0, np.nan, np.nan], [3.0, 5.0]] + [[np.nan]] * 14
    assert encoded(data(*samples))["statisticsSeries"] == {
        "min": [1.0, 5.0, None],
        "mean": [2.0, 5.0, None],
        "max": [3.0, 5.0, None],
    }


def test_any_layout_of_the_samples_in_memory_is_written() -> None:
    table = np.arange(6.0).reshape(3, 2)
    document = {"m": {"node": MetricData({"base": ""}, 60, [Series("n", None, table[:, 1])])}}
    assert json.loads(encode_data(document))["m"]["node"]["series"][0]["data"] == [1.0, 3.0, 5.0]


def test_a_data_file_comes_back_as_it_was_written() -> None:
    back = decode_data(encode_data(data([1.0, np.nan, 2.5], [])))
    series = back["cpu_load"]["node"].series
    assert back["cpu_load"]["node"].unit == {"base": ""}
    assert [item.hostname for item in series] == ["n00", "n01"]
    np.testing.assert_array_equal(series[0].data, [1.0, np.nan, 2.5])
    assert series[1].data.dtype == np.float64


def test_the_sample_data_file_is_read() -> None:
    path = SAMPLES / "archive/emmy/1403/244/1608923076/data.json.gz"
    if not path.exists():
        pytest.skip(f"no sample {path}")
    raw = gzip.decompress(path.read_bytes())
    assert len(decode_data(raw)["cpu_load"]["node"].series) == 32
    assert [item["name"] for item in json.loads(select_data(raw, None, ["node"]))] == sorted(json.loads(raw))


CORE = (
    b'{"unit":{"base":"B/s","prefix":"G"},"timestep":60,"series":[{"hostname":"n01","id":"0",'
    b'"statistics":{"min": 0.10,"avg":1E2},"data":[0.10, 1e2,null]}],"statisticsSeries":{"min":[0.10],"x":1}}'
)
METRIC = b'{"timestep": 60, "series": []}'
RAW = (
    b'{"b": {"node": %b, "core": %b}, "a\\u00e9": {"socket": %b, "hwthread": %b}, "c": {"accelerator": %b, "node": %b}}'
    % (METRIC, CORE, METRIC, METRIC, METRIC, METRIC)
)


def picked(metrics: list[str] | None, num_nodes: int) -> list[tuple[str, str]]:
    """Return name and scope of what `select_data` hands out of RAW."""
    return [(item["name"], item["scope"]) for item in json.loads(select_data(RAW, metrics, default_scopes(num_nodes)))]


def test_a_job_of_one_node_gets_core_and_others_node_or_all_where_it_is_missing() -> None:
    assert picked(None, 1) == [
        ("a\u00e9", "hwthread"),
        ("a\u00e9", "socket"),
        ("b", "core"),
        ("c", "accelerator"),
        ("c", "node"),
    ]
    assert picked(None, 2) == [("a\u00e9", "hwthread"), ("a\u00e9", "socket"), ("b", "node"), ("c", "node")]


def test_only_the_metrics_asked_for_come_and_each_once() -> None:
    assert picked(["c", "b", "unknown", "b"], 2) == [("b", "node"), ("c", "node")]
    assert picked(["unknown"], 2) == []
    assert select_data(RAW, [], ["node"]) == b"[]"


def test_several_scopes_and_a_map_may_be_asked_for() -> None:
    items = json.loads(select_data(RAW, ["b", "c"], ["node", "core", "socket"]))
    assert [(item["name"], item["scope"]) for item in items] == [("b", "core"), ("b", "node"), ("c", "node")]
    found = {name: list(scopes) for name, scopes in json.loads(select_map(RAW, ["core"])).items()}
    assert found == {"a\u00e9": ["hwthread", "socket"], "b": ["core"], "c": ["accelerator", "node"]}


def test_samples_and_statistics_are_passed_through_as_they_are() -> None:
    assert select_data(RAW, ["b"], ["core"]) == b'[{"name":"b","scope":"core","metric":%b}]' % CORE


def test_a_document_of_ours_is_passed_through_byte_by_byte() -> None:
    raw = encode_data(data(*([1.5, np.nan, 1e-7] for _ in range(17))))
    metric = raw.removeprefix(b'{"cpu_load":{"node":').removesuffix(b"}}")
    assert select_data(raw, None, ["node"]) == b'[{"name":"cpu_load","scope":"node","metric":%b}]' % metric


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b'{"a": 5}',
        b'{"a": {"node": 5}}',
        b'{"a": {"node": {}}}',
        b'{"a": {"node": {"timestep": 60, "series": null}}}',
        b'{"a": {"node": {"timestep": 60, "series": [], "unit": "B"}}}',
        b'{"a": {"node": {"x": [1, 2}}}',
        b'{"a": {"node": {"x": "\xff"}}}',
        RAW[:-5],
    ],
)
def test_a_wrong_data_file_is_an_error(raw: bytes) -> None:
    with pytest.raises(DocumentError, match=r"data\.json"):
        select_data(raw, None, ["node"])
    with pytest.raises(DocumentError, match=r"data\.json"):
        select_map(raw, ["node"])
    with pytest.raises(DocumentError, match=r"data\.json"):
        decode_data(raw)
