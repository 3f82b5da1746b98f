"""The 127 recorded requests with the answers of cc-backend 1.2: each difference is listed here with its rule.

tests/data/golden.jsonl holds one request with its answer a line, recorded in sequence on an empty installation with the
users bench (role api), admin (admin, api) and alice (user); tests/data has the parts of its clusters that the requests
name. `token` is the name of a token, else the literal text. Of a refusal there is the status and, where it was JSON,
the keys; of samples and statistics the shape, as `shape` makes it.
"""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from jobs.archiving.worker import ArchiveWorker
from tests.support.clients import Answer, AppClient
from tests.support.factories import UserFactory, token_for
from tests.support.paths import DATA

GOLDEN = DATA / "golden.jsonl"

# They succeed here and failed there: checked in a transaction that is rolled back.
WITHOUT_EFFECT = {
    17: (201, "a second run of a jobId is a run of its own, the window is 60 s"),
    20: (201, "a decimal string is taken as an integer"),
    32: (201, "any smt from 0 on"),
    34: (201, "every path works without its slash"),
    57: (200, "`scope` in a tag is known and ignored"),
    62: (200, "stopTime equal to startTime is normal"),
    69: (200, "of several runs, the running one is stopped"),
}

OTHER_STATUS = {
    33: (201, "the same tag twice is no error"),
    55: (200, "a tag that the job already has is no error"),
    35: (405, "another method is a 405"),
    44: (400, "page >= 1"),
    52: (200, "every path works without its slash"),
    68: (422, "found but not running"),
    77: (200, "a finished job that is not archived can be tagged"),
    85: (200, "monitoringStatus 0 has no samples: []"),
    89: (200, "GET jobs/{id} gives all metrics"),
    94: (422, "an unknown job cannot be deleted"),
    122: (400, "none of the four fields"),
    126: (422, "an unknown user cannot be deleted"),
}

# There are rules for passwords here: at least 8 characters.
LONGER_PASSWORD = ("password=pw&", "password=a-long-enough-one&")

# The texts that clients rely on; of other errors only status and shape are compared.
ERRORS = {
    4: "missing role: api",
    36: "missing role: api",
    24: "no such cluster: nope",
    64: "the field 'jobId' is required",
    90: "the field 'jobId' is required",
    105: "Only API users are allowed to have a blank password (login will be impossible)",
    107: "managers require a project to manage (can be changed later)",
    108: "only managers require a project (can be changed later)",
}
ERROR_BEGINS = dict.fromkeys((65, 72, 87, 91), "finding job failed: ")

# cluster-emmy.json marks these `remove` for haswell, where the jobs 1 and 2 ran: not archived; the reference archives
# them all the same.
REMOVED_ON_HASWELL = {"cpu_user", "nfs4_read", "nfs4_write", "nfs4_total"}

ARCHIVE_BEFORE = 75
SAMPLES = range(78, 85)
_ID_IN_PATH = re.compile(r"^(/api/jobs/(?:(?:stop_job|tag_job|delete_job)/)?)(\d+)$")


@dataclass
class Replay:
    """What has been learnt of the reference's ids, and what did not match."""

    client: AppClient
    tokens: dict[str, str]
    ids: dict[int, int] = field(default_factory=dict)
    tag_ids: dict[int, int] = field(default_factory=dict)
    tags: dict[int, list[Any]] = field(default_factory=dict)
    metadata: dict[int, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def send(self, request: dict[str, Any]) -> Answer:
        """Send a recorded request with our tokens and ids."""
        token = request["token"]
        if token is not None:
            token = self.tokens.get(token, token)
            if token.startswith("{api"):
                token = self.tokens["api"][:-6] + "AAAAAA"
        headers = {
            name: value.replace("{api}", self.tokens["api"]) for name, value in request.get("headers", {}).items()
        }
        path = _ID_IN_PATH.sub(lambda found: f"{found[1]}{self.ids.get(int(found[2]), found[2])}", request["path"])
        body = None if request["body"] is None else request["body"].replace(*LONGER_PASSWORD).encode()
        return self.client.request(request["method"], path, body, token=token, headers=headers)

    def learn(self, number: int, recorded: Any, answer: Answer) -> None:
        """Remember which job of ours a started one is."""
        if answer.status != 201:
            return
        reference_id = recorded["body"]["id"] if recorded["status"] == 201 else 11  # 33 was stored, too
        self.ids[reference_id] = answer.json["id"]

    def job(self, job: dict[str, Any], kind: str) -> dict[str, Any]:
        """Return a job of the reference as we show it; `kind` is list, stop or job (tag_job and meta)."""
        expected: dict[str, Any] = {}
        reference_id = job["id"]
        if "tags" in job:
            self.tags[reference_id] = sorted(job["tags"], key=lambda tag: tag["id"])  # tags are ordered by id
        if job["metaData"] is not None:
            self.metadata[reference_id] = job["metaData"]
        tags = self.tags.get(reference_id)
        for key, value in job.items():
            if key == "jobState" and "monitoringStatus" not in job:
                expected["monitoringStatus"] = 0  # it is always there
            if key == "resources" and tags:
                expected["tags"] = [tag | {"id": self.tag_ids.get(tag["id"], tag["id"])} for tag in tags]
            if key != "tags":
                expected[key] = value
        expected["id"] = self.ids[reference_id]
        if job["jobState"] == "running":
            expected["duration"] = "now minus startTime"
        if kind == "job":
            expected["metaData"] = self.metadata.get(reference_id)  # tags and metaData are loaded
        if kind == "stop":
            expected["startTime"] = int(time.mktime(time.strptime(job["startTime"], "%Y-%m-%dT%H:%M:%SZ")))
            expected["startTime"] -= time.timezone
            expected["statistics"] = None  # stop_job answers with JobMeta
        return expected

    def ours(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return a job of ours with its running time, which depends on the clock, checked and replaced."""
        if job["jobState"] == "running":
            start = job["startTime"]
            if isinstance(start, str):
                start = int(time.mktime(time.strptime(start, "%Y-%m-%dT%H:%M:%SZ"))) - time.timezone
            assert abs(job["duration"] - (time.time() - start)) < 10
            return job | {"duration": "now minus startTime"}
        return job

    def same_tags(self, ours: list[Any], reference: list[Any]) -> None:
        """Learn which tag of ours a new one of the reference is."""
        known = {(tag["type"], tag["name"]): tag["id"] for tag in ours}
        for tag in reference:
            self.tag_ids.setdefault(tag["id"], known.get((tag["type"], tag["name"]), -1))

    def compare(self, number: int, what: str, ours: Any, expected: Any) -> None:
        """Note a difference; the order of keys counts."""
        if json.dumps(ours) != json.dumps(expected):
            self.wrong.append(f"{number}: {what}\n   ours     {json.dumps(ours)}\n   expected {json.dumps(expected)}")


def shape(value: Any) -> Any:
    """Return a value with its numbers and samples replaced by their kind, keys and series sorted."""
    if isinstance(value, dict):
        return {key: shape(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        if value and not isinstance(value[0], dict):
            return ["samples"]
        return sorted((shape(item) for item in value), key=json.dumps)
    return "number" if isinstance(value, int | float) else value


@pytest.mark.django_db(transaction=True)
def test_the_recorded_requests_have_the_recorded_answers(
    anonymous: AppClient, add_cluster: Callable[[str], Path], settings: Any, synthetic: None
) -> None:
    add_cluster("emmy")
    add_cluster("alex")
    tokens = {
        key: token_for(UserFactory.create(username=name, name="", email="", roles=roles))
        for key, name, roles in (
            ("api", "bench", ["api"]),
            ("admin", "admin", ["admin", "api"]),
            ("user", "alice", ["user"]),
        )
    }
    replay = Replay(anonymous, tokens)
    records = [json.loads(line) for line in GOLDEN.read_text().splitlines()]
    assert [record["n"] for record in records] == list(range(1, 128))
    for record in records:
        number, recorded = record["n"], record["answer"]
        if number == ARCHIVE_BEFORE:
            assert ArchiveWorker().drain().archived == 3
        if number in WITHOUT_EFFECT:
            with transaction.atomic():
                answer = replay.send(record["request"])
                transaction.set_rollback(True)
            replay.compare(number, "status", answer.status, WITHOUT_EFFECT[number][0])
            continue
        answer = replay.send(record["request"])
        status, _ = OTHER_STATUS.get(number, (recorded["status"], ""))
        replay.compare(number, f"{record['name']}: status", answer.status, status)
        if answer.status == status:
            replay.learn(number, recorded, answer)
            _compare_bodies(replay, record, answer)
    assert not replay.wrong, "\n".join(["", *replay.wrong])


def _compare_bodies(replay: Replay, record: dict[str, Any], answer: Answer) -> None:
    number, path, recorded = record["n"], record["request"]["path"], record["answer"]
    body = recorded.get("body")
    users = path.startswith("/api/user")
    if answer.status >= 400:
        text = answer.text if users and answer.status in (400, 422) else answer.error
        if "keys" in recorded:
            replay.compare(number, "keys of the refusal", list(answer.json), recorded["keys"])
        if number in ERRORS:
            replay.compare(number, "message", text, ERRORS[number])
        if number == 16:
            message = "a job with that jobId, cluster and startTime already exists: dbid: {}, jobid: 1001"
            replay.compare(number, "message", text, message.format(replay.ids[1]))
        if number in ERROR_BEGINS:
            assert text.startswith(ERROR_BEGINS[number]), text
    elif users:
        _compare_users(replay, record, answer)
    elif path.startswith("/api/jobs/delete_job"):
        expected = re.sub(r"(?<=job )\d+$", lambda found: str(replay.ids[int(found[0])]), body["msg"])
        replay.compare(number, "message", answer.json, {"msg": expected})
    elif "/stop_job" in path:
        replay.compare(number, "stopped job", answer.json, replay.job(body, "stop"))
    elif "/tag_job" in path:
        _compare_tagged(replay, record, answer)
    elif number in (52, 85, 89):
        _compare_what_the_reference_has_not(replay, number, answer)
    elif number in SAMPLES:
        _compare_samples(replay, number, answer.json, body)
    elif "/start_job" in path:
        assert set(answer.json) == {"id"}
    else:
        _compare_list(replay, number, answer.json, body)


def _compare_users(replay: Replay, record: dict[str, Any], answer: Answer) -> None:
    number, body = record["n"], record["answer"].get("body")
    if record["request"]["method"] != "GET":
        replay.compare(number, "text", answer.text, body)
        return
    expected = []
    for user in body:  # five keys: authType and authSource are the reference's own
        user = {key: value for key, value in user.items() if key not in ("authType", "authSource")}
        expected.append(user | {"projects": [project for project in user["projects"] if project]})
    replay.compare(number, "users", answer.json, expected)


def _compare_tagged(replay: Replay, record: dict[str, Any], answer: Answer) -> None:
    number, reference = record["n"], record["answer"].get("body")
    if number in OTHER_STATUS:  # the reference answered with an error: what the request asked for must be there
        wanted = [(tag["type"], tag["name"]) for tag in json.loads(record["request"]["body"])]
        assert set(wanted) <= {(tag["type"], tag["name"]) for tag in answer.json["tags"]}
        return
    replay.same_tags(answer.json["tags"], reference["tags"])
    replay.compare(number, "tagged job", replay.ours(answer.json), replay.job(reference, "job"))


def _compare_list(replay: Replay, number: int, ours: dict[str, Any], reference: dict[str, Any]) -> None:
    by_id = {job["id"]: job for job in ours["jobs"]}
    expected = []
    for job in reference["jobs"]:
        replay.same_tags(by_id.get(replay.ids[job["id"]], {}).get("tags", []), job.get("tags", []))
        expected.append(replay.job(job, "list"))
    found = [replay.ours(job) for job in ours["jobs"]]
    if number >= ARCHIVE_BEFORE:  # statistics of another source: their shape
        expected = [_without_removed(job) for job in expected]
        found, expected = (
            [job | {"statistics": shape(job["statistics"])} for job in jobs] for jobs in (found, expected)
        )
    replay.compare(number, "list", {**ours, "jobs": found}, {**reference, "jobs": expected, "items": len(expected)})


def _without_removed(job: dict[str, Any]) -> dict[str, Any]:
    if job["subCluster"] != "haswell" or job["statistics"] is None:
        return job
    statistics = {name: part for name, part in job["statistics"].items() if name not in REMOVED_ON_HASWELL}
    return job | {"statistics": statistics}


def _compare_samples(replay: Replay, number: int, ours: dict[str, Any], reference: dict[str, Any]) -> None:
    replay.compare(number, "keys", list(ours), ["meta", "data"])
    replay.compare(number, "meta", replay.ours(ours["meta"]), replay.job(reference["Meta"], "job"))
    wanted = [] if number == 83 else reference["Data"]  # [] is no metric
    wanted = [item for item in wanted if item["name"] not in REMOVED_ON_HASWELL]
    for item in wanted:
        if item["scope"] == "node":
            for series in item["metric"]["series"]:
                series.pop("id", None)  # a node of one socket gets that socket's id there
    replay.compare(number, "data", shape(ours["data"]), shape(wanted))


def _compare_what_the_reference_has_not(replay: Replay, number: int, answer: Answer) -> None:
    if number == 52:
        assert [job["id"] for job in answer.json["jobs"]] == [replay.ids[3]]
    elif number == 85:
        assert (answer.json["meta"]["id"], answer.json["data"]) == (replay.ids[8], [])
    else:
        assert answer.json["meta"]["id"] == replay.ids[1]
        assert "cpu_load" in {item["name"] for item in answer.json["data"]}
