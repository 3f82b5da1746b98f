"""Random bodies, queries, headers and searches: answered as described or refused, and never an internal error."""

import argparse
import contextlib
import urllib.parse
from typing import Any

import pytest
from hypothesis import given, strategies

from accounts.models import User
from jobs.console import days_ago, parse_when, shown_time
from jobs.querysets import seen_by
from jobs.search.box import narrow
from jobs.search.criteria import Criteria
from jobs.search.fields import FIELDS
from jobs.search.find import Search
from jobs.text import LATEST_TIME, clean_text
from tests.support.clients import AppClient, start_body
from tests.support.factories import JobFactory, TagFactory
from tests.support.random_input import documents, examples

STOP = {
    "jobId": 1001,
    "cluster": "testcluster",
    "startTime": 1_700_000_000,
    "stopTime": 1_700_000_100,
    "jobState": "failed",
}
TAGS = [{"type": "perf", "name": "bad", "scope": "global"}]
NODES = {"cluster": "testcluster", "nodes": [{"hostname": "n01", "states": ["idle"], "cpusAllocated": 3}]}
BODIES: dict[str, tuple[str, str, Any]] = {
    "start": ("POST", "/api/jobs/start_job/", start_body(metaData={"jobName": "x"}, tags=TAGS, smt=1, numAcc=1)),
    "stop": ("POST", "/api/jobs/stop_job/", STOP),
    "tag": ("POST", "/api/jobs/tag_job/{id}", TAGS),
    "untag": ("DELETE", "/api/jobs/tag_job/{id}", TAGS),
    "edit": ("PATCH", "/api/jobs/edit_meta/{id}", {"key": "issue", "value": "slow"}),
    "samples": ("POST", "/api/jobs/{id}", ["load"]),
    "delete": ("DELETE", "/api/jobs/delete_job/", {"jobId": 5, "cluster": "testcluster", "startTime": 1}),
    "nodestate": ("POST", "/api/nodestate/", NODES),
    "user": (
        "POST",
        "/api/users/",
        {"username": "eve", "role": "user", "password": "a-long-enough-one", "name": "Eve", "email": "e@x.org"},
    ),
}
WORDS = strategies.sampled_from(
    [
        *(f"{name}:" for name in FIELDS),
        *(":", '"', '""', " ", "-", "*", ",", ">", "<=", "..", "%", "_"),
        *(
            "alice",
            "n01",
            "perf:bad",
            "running",
            "0",
            "5%",
            "2026-11",
            "9" * 18,
            "9" * 30,
            "-1",
            "%",
            "_",
            "\\",
            "\0",
            "é",
            "\ud800",
            "\u3000",
            "٣",
        ),
    ]
)
PARAMETERS = (
    *("state", "cluster", "start-time", "items-per-page", "page", "with-metadata", "project", "user", "job-id"),
    *(
        "sub-cluster",
        "partition",
        "tag",
        "all-metrics",
        "metric",
        "scope",
        "omit-tagged",
        "not-just-user",
        "ts",
        "role",
        "month",
        "from",
        "to",
        "by",
    ),
)
VALUES = (
    WORDS
    | strategies.text(max_size=10)
    | strategies.integers().map(str)
    | strategies.sampled_from(
        ["true", "1-2", "1-", "-", "2-1", "1700000000-1800000000", "-1", "10000000", "%00", "none"]
    )
)
HEADERS = (
    *("Authorization", "X-Auth-Token", "X-Forwarded-For", "X-Real-Ip", "Host", "Cookie", "Accept", "Accept-Encoding"),
    *("Content-Type", "Content-Length", "Accept-Language", "If-Modified-Since", "Range", "Expect", "X-CSRFToken"),
)
PATHS = (
    "/api/jobs/",
    "/api/jobs/{id}",
    "/api/jobs/metrics/{id}",
    "/api/clusters/",
    "/api/users/",
    "/api/usage/",
    "/api/jobs/used_nodes",
)


@pytest.mark.parametrize("name", BODIES)
def test_random_bodies(admin_api: AppClient, name: str) -> None:
    method, path, valid = BODIES[name]
    path = path.format(id=admin_api.started())

    @examples(25)
    @given(raw=documents(valid))
    def answered(raw: bytes) -> None:
        answer = admin_api.request(method, path, raw)
        assert answer.status < 500, answer

    answered()


def test_random_queries(admin_api: AppClient) -> None:
    job = admin_api.started()

    @examples(60)
    @given(
        path=strategies.sampled_from(PATHS),
        query=strategies.lists(strategies.tuples(strategies.sampled_from(PARAMETERS), VALUES), max_size=4),
    )
    def answered(path: str, query: list[tuple[str, str]]) -> None:
        encoded = urllib.parse.urlencode(query, errors="surrogatepass")
        answer = admin_api.get(f"{path.format(id=job)}?{encoded}")
        assert answer.status < 500, answer

    answered()


def test_random_headers(admin_api: AppClient) -> None:
    """Values are what a server gives on: any bytes but line breaks, read as Latin-1."""
    text = strategies.text(strategies.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=30)

    @examples(40)
    @given(headers=strategies.dictionaries(strategies.sampled_from(HEADERS), text, max_size=3))
    def answered(headers: dict[str, str]) -> None:
        answer = admin_api.get("/api/jobs/?items-per-page=1", headers=headers)
        assert answer.status < 500, answer

    answered()


def test_random_searches(alice: User, admin: User) -> None:
    tag = TagFactory.create(type="perf", name="bad")
    JobFactory.create(job_id=1, user="alice", tags=[tag], meta_data='{"jobName":"my first job"}')

    @examples(60)
    @given(
        words=strategies.lists(WORDS | strategies.text(max_size=8), max_size=6),
        user=strategies.sampled_from([alice, admin]),
    )
    def searched(words: list[str], user: User) -> None:
        criteria = Criteria()
        narrow(criteria, clean_text("".join(words)), seen_by(user))
        Search(seen=seen_by(user), criteria=criteria).newest(5)

    searched()


@examples(60)
@given(text=WORDS | strategies.text(max_size=12) | strategies.datetimes().map(str) | strategies.integers().map(str))
def test_random_arguments_of_commands(text: str) -> None:
    for parse in (parse_when, days_ago):
        with contextlib.suppress(argparse.ArgumentTypeError):
            seconds = parse(text)
            assert seconds <= LATEST_TIME
            assert shown_time(seconds)
