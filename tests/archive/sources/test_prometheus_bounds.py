"""The prometheus source against a server that answers as told: bounds of what it asks for, answers that are none."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pytest

from archive.sources import get_source, prometheus
from tests.support.http_store import LoopbackServer
from tests.support.prometheus_source import ACC, CLUSTER, LOAD, START, failure, ids, job, source_of


class FakePrometheus(LoopbackServer):
    """Has a sample of every host at every step, its time; `result` replaces that by something else."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[dict[str, str]] = []
        self.result: list[Any] | None = None
        self.warnings: list[str] = []
        self.more: dict[str, Any] = {}

    def body(self, request: bytes) -> bytes:
        """Return the answer to one form."""
        form = request.decode() or self.calls[-1][1].partition("?")[2]
        self.forms.append({key: value for key, (value,) in parse_qs(form).items()})
        data = {"resultType": "matrix", "result": self._series() if self.result is None else self.result}
        return json.dumps({"status": "success", "data": data, "warnings": self.warnings} | self.more).encode()

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


@pytest.mark.parametrize("refusal", [405, 501])
def test_get_is_used_where_post_is_refused_and_remembered(fake: FakePrometheus, refusal: int) -> None:
    fake.methods, fake.refusal = ("GET",), refusal
    source = source_of(fake.url, load=LOAD)
    for _ in range(2):
        assert len(source.load(job(), CLUSTER)["load"]["node"].series) == 1
    assert [call[0] for call in fake.calls] == ["POST", "GET", "GET"]
    assert [sorted(form) for form in fake.forms] == [["end", "query", "start", "step"]] * 2


@pytest.mark.parametrize(("method", "taken"), [("POST", "GET"), ("GET", "POST")])
def test_a_method_of_the_configuration_is_the_only_one(fake: FakePrometheus, method: str, taken: str) -> None:
    fake.methods = (taken,)
    entry = {"kind": "prometheus", "url": fake.url, "method": method, "queries": {"load": LOAD}}
    assert "answered 405 Method Not Allowed" in str(failure(get_source("demo", {"demo": entry})))
    assert [call[0] for call in fake.calls] == [method]


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
        {"metric": {"_host": "n01"}, "values": [[START + 60, True]]},
        {"metric": {"_host": "n01"}, "values": [[START + 60, "one"]]},
        {"metric": {"_host": "n01"}, "values": [["now", "1"]]},
        {"metric": {"_host": "n01"}, "values": [[START - 60, "1"]]},
        {"metric": {"_host": "n01"}, "values": [[START + 720, "1"]]},
        {"metric": {"_host": "n01"}, "values": [[(START + 60) * 1000, "1"]]},
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
    assert f"{fake.url}/api/v1/query_range: job 7 of demo: no samples of load" in caplog.text
    assert caplog.text.count("a store is away") == 1
