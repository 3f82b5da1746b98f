"""Answers that our OpenAPI description does not have are noticed by each client of the tests."""

import json
from typing import Any

import pytest

from tests.support.api_schema import check_described, description
from tests.support.clients import Answer, AppClient

JOB: dict[str, Any] = {
    "id": 1,
    "jobId": 2,
    "user": "alice",
    "project": "bio",
    "cluster": "testcluster",
    "subCluster": "main",
    "numNodes": 1,
    "exclusive": 1,
    "monitoringStatus": 1,
    "jobState": "running",
    "duration": 3,
    "resources": [{"hostname": "n01"}],
    "metaData": None,
    "concurrentJobs": {"items": None, "count": 0},
    "startTime": 1_700_000_000,
    "statistics": None,
}
REFUSAL = {"status": "Not Found", "error": "there is none"}


def described(method: str, path: str, status: int, body: Any, kind: str = "application/json") -> None:
    """Check an answer with a JSON body, or with the bytes given."""
    check_described(method, path, status, kind, body if isinstance(body, bytes) else json.dumps(body).encode())


def listed(**changes: Any) -> dict[str, Any]:
    """Return a list with one job, some of its keys changed."""
    return {"jobs": [JOB | changes], "items": 1, "page": 1}


def sampled(*samples: Any) -> dict[str, Any]:
    """Return the answer of jobs/{id} with one series."""
    meta = {key: value for key, value in JOB.items() if key != "statistics"} | {"startTime": "2023-11-14T22:13:20Z"}
    series = {"hostname": "n01", "data": list(samples)}
    metric = {"unit": {"base": ""}, "timestep": 60, "series": [series]}
    return {"meta": meta, "data": [{"name": "cpu_load", "scope": "node", "metric": metric}]}


@pytest.mark.parametrize(
    ("method", "path", "status", "body", "kind"),
    [
        ("GET", "/api/jobs/", 200, listed(), "application/json"),
        ("GET", "/api/jobs", 200, listed(), "application/json"),
        ("HEAD", "/api/jobs/", 200, b"", "application/json"),
        ("HEAD", "/api/jobs/start_job/", 405, b"", "application/json"),
        ("POST", "/api/jobs/7/", 200, sampled(1.5, None, 2), "application/json"),
        ("DELETE", "/api/users/", 200, b"", ""),
        ("POST", "/api/user/alice", 422, b"there already", "text/plain; charset=utf-8"),
        ("GET", "/api/jobs/start_job/", 405, REFUSAL, "application/json"),
        ("GET", "/api/nothing", 404, REFUSAL, "application/json"),
    ],
)
def test_an_answer_as_described_passes(method: str, path: str, status: int, body: Any, kind: str) -> None:
    described(method, path, status, body, kind)


@pytest.mark.parametrize(
    ("method", "path", "status", "body", "kind", "reason"),
    [
        ("GET", "/api/jobs/", 418, REFUSAL, "application/json", "status"),
        ("GET", "/api/jobs/", 200, listed(), "text/plain", "content type"),
        ("GET", "/api/jobs/", 200, listed(), "", "content type"),
        ("GET", "/api/jobs/", 200, listed(), "application/json; charset=utf-8", "charset"),
        ("GET", "/api/jobs/", 200, listed(energy=1), "application/json", "energy"),
        ("GET", "/api/jobs/", 200, listed(jobId="2"), "application/json", r"jobs\[0\]\.jobId"),
        ("GET", "/api/jobs/", 200, listed(jobId=None), "application/json", "jobId"),
        ("GET", "/api/jobs/", 200, listed(resources=[{"host": "n01"}]), "application/json", "host"),
        ("GET", "/api/jobs/", 200, {"jobs": [], "items": 0}, "application/json", "page"),
        ("GET", "/api/jobs/", 400, REFUSAL | {"detail": "x"}, "application/json", "detail"),
        ("POST", "/api/jobs/7", 200, sampled(1.5, None, "2"), "application/json", r"data\[0\]\.metric"),
        ("HEAD", "/api/jobs/", 200, b"{}", "application/json", "a body"),
        ("DELETE", "/api/users/", 200, b"gone", "text/plain", "a body"),
        ("POST", "/api/user/alice", 422, b"", "text/plain", "no text"),
        ("GET", "/api/jobs/start_job/", 200, {"id": 1}, "application/json", "not refused"),
        ("GET", "/api/nothing", 200, {}, "application/json", "not refused"),
        ("GET", "/api/nothing", 404, REFUSAL, "text/html", "content type"),
        ("GET", "/api/nothing", 404, {"detail": "x"}, "application/json", "detail"),
    ],
)
def test_an_answer_that_is_not_described_is_noticed(
    method: str, path: str, status: int, body: Any, kind: str, reason: str
) -> None:
    with pytest.raises(AssertionError, match=reason):
        described(method, path, status, body, kind)


def test_each_request_of_a_client_is_checked(api: AppClient, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Answer(200, {"content-type": "application/json"}, b'{"jobs":[],"items":0,"page":1,"more":true}')
    monkeypatch.setattr(api, "send", lambda *_: answer)
    with pytest.raises(AssertionError, match="more"):
        api.get("/api/jobs/?page=1")


def test_the_description_is_the_one_that_is_served(api: AppClient) -> None:
    served = api.get("/api/schema/?format=json").json
    assert served["paths"].keys() == description()["paths"].keys()
    assert served["components"] == json.loads(json.dumps(description()["components"]))
