"""Request bodies: keys, numbers and texts as real clients send them, and what a refusal says."""

import contextlib
import json
import tracemalloc
from typing import Any

import pytest

from jobs.api.decoding import decode
from jobs.exceptions import InvalidJobError
from jobs.messages import StartJob, StopJob, StopJobById, TagName
from jobs.models import Job
from tests.support.clients import AppClient, start_body


def changed(**changes: Any) -> bytes:
    """Return a valid body of start_job with some keys changed, as JSON."""
    return json.dumps(start_body() | changes).encode()


def refusal(body: bytes, message: Any = StartJob) -> str:
    """Return why a body is refused."""
    with pytest.raises(InvalidJobError) as caught:
        decode(body, message)
    assert caught.value.status_code == 400
    return str(caught.value)


@pytest.mark.parametrize("change", [str.lower, str.upper, str.swapcase])
def test_keys_are_matched_without_regard_to_case_at_every_level(change: Any) -> None:
    body = start_body(
        metaData={"jobName": "x"},
        resources=[{"hostname": "n01", "hwthreads": [1], "accelerators": ["a"], "configuration": "c"}],
        tags=[{"type": "t", "name": "n"}],
    )

    def renamed(value: Any, key: str = "") -> Any:
        if isinstance(value, dict) and key.lower() != "metadata":
            return {change(name): renamed(part, name) for name, part in value.items()}
        return [renamed(part) for part in value] if isinstance(value, list) else value

    assert decode(json.dumps(renamed(body)).encode(), StartJob) == decode(json.dumps(body).encode(), StartJob)


def test_keys_inside_metadata_keep_their_case() -> None:
    job = decode(b'{"METADATA": {"jobName": "a", "JobName": "b", "jobname": "c"}}', StartJob)
    assert job.meta_data == {"jobName": "a", "JobName": "b", "jobname": "c"}


@pytest.mark.parametrize(
    ("body", "job_id"),
    [
        (b'{"jobId": 1, "jobId": 2}', 2),
        (b'{"jobId": 1, "jobid": 2}', 2),
        (b'{"jobid": 1, "jobId": 2}', 2),
        (b'{"JOBID": 1, "jobId": 2, "jobid": "3"}', 3),
        (b'{"jobId": 1, "jobid": null}', None),
    ],
)
def test_of_a_key_that_comes_twice_the_last_wins(body: bytes, job_id: int | None) -> None:
    assert decode(body, StartJob).job_id == job_id


@pytest.mark.parametrize(
    ("body", "message", "key"),
    [
        (changed(foo=1), StartJob, "foo"),
        (changed(resources=[{"hostname": "a", "gpu": 1}]), StartJob, "gpu"),
        (changed(tags=[{"type": "a", "name": "b", "colour": 1}]), StartJob, "colour"),
        (b'{"jobId": 1, "foo": null}', StopJob, "foo"),
        (b'[{"type": "a", "nam": "b"}]', list[TagName], "nam"),
    ],
)
def test_an_unknown_key_is_named(body: bytes, message: Any, key: str) -> None:
    assert repr(key) in refusal(body, message)


@pytest.mark.parametrize(
    "key",
    [
        "submitTime",
        "requestedMemory",
        "energy",
        "energyFootprint",
        "footprint",
        "statistics",
        "concurrentJobs",
        "id",
        "duration",
    ],
)
@pytest.mark.parametrize("value", [None, 0, "x", 1.5, [], {"items": None}, {"Any": {"thing": [1, "\ud800"]}}])
@pytest.mark.parametrize("change", [str, str.lower])
def test_keys_of_newer_clients_without_a_column_are_taken_whatever_they_hold(key: str, value: Any, change: Any) -> None:
    assert decode(changed(**{change(key): value}), StartJob).job_id == 1001


def test_null_is_the_same_as_a_key_left_out(api: AppClient) -> None:
    nulls = dict.fromkeys(
        [
            "arrayJobId",
            "numHwthreads",
            "numAcc",
            "exclusive",
            "shared",
            "monitoringStatus",
            "smt",
            "jobState",
            "walltime",
            "tags",
            "metaData",
            "partition",
            "project",
            "subCluster",
            "submitTime",
        ]
    )
    assert api.post("/api/jobs/start_job/", start_body() | nulls).status == 201
    assert api.post("/api/jobs/start_job/", changed(jobId=None)).error == api.start(jobId=None).error


INTEGERS = [
    "jobId",
    "arrayJobId",
    "startTime",
    "walltime",
    "numNodes",
    "numAcc",
    "numHwthreads",
    "smt",
    "exclusive",
    "monitoringStatus",
]


@pytest.mark.parametrize("key", INTEGERS)
@pytest.mark.parametrize(("text", "number"), [("1", 1), ("007", 7), ("0", 0), ("-1", -1)])
def test_a_decimal_string_is_taken_as_an_integer(key: str, text: str, number: int) -> None:
    assert decode(changed(**{key: text}), StartJob) == decode(changed(**{key: number}), StartJob)


def test_hardware_threads_may_be_strings_too() -> None:
    job = decode(changed(resources=[{"hostname": "a", "hwthreads": ["0", 1]}]), StartJob)
    assert job.resources is not None
    assert job.resources[0].hwthreads == [0, 1]


def test_a_text_of_digits_stays_a_text() -> None:
    job = decode(changed(USER="123", partition="7", metaData={"a": "1"}), StartJob)
    assert (job.user, job.partition, job.meta_data) == ("123", "7", {"a": "1"})


@pytest.mark.parametrize("key", INTEGERS)
@pytest.mark.parametrize(
    "value",
    ["1.0", "1e3", "1.5", '"1.0"', '"1e3"', '" 1"', '""', '"x"', '"0x10"', '"+1"', "true", "[]", "{}", '"\u0661"'],
)
def test_fractions_exponents_and_other_texts_are_refused_by_name(key: str, value: str) -> None:
    body = changed(**{key: "@"}).replace(b'"@"', value.encode())
    message = refusal(body)
    assert key in message
    assert "expected" in message


@pytest.mark.parametrize("key", ["jobId", "arrayJobId", "walltime"])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("as_text", [True, False])
def test_64_bits_are_the_limit_of_ids_and_durations(key: str, sign: int, as_text: bool) -> None:
    inside, outside = (2**63 - 1, 2**63) if sign == 1 else (-(2**63), -(2**63) - 1)
    decode(changed(**{key: str(inside) if as_text else inside}), StartJob)
    assert key in refusal(changed(**{key: str(outside) if as_text else outside}))


@pytest.mark.parametrize("key", ["numNodes", "numAcc", "numHwthreads", "smt"])
def test_32_bits_are_the_limit_of_counts(key: str) -> None:
    decode(changed(**{key: 2**31 - 1}), StartJob)
    message = refusal(changed(**{key: 2**31}))
    assert key in message
    assert str(2**31) in message


@pytest.mark.parametrize(
    "changes",
    [
        {"jobId": 2**63},
        {"startTime": 10**30},
        {"numNodes": 2**31},
        {"smt": 2**40},
        {"walltime": 2**64},
        {"arrayJobId": -(2**63) - 1},
        {"resources": [{"hostname": "n01", "hwthreads": [2**31]}]},
    ],
)
def test_a_number_out_of_range_is_a_400_and_never_a_500(api: AppClient, changes: dict[str, Any]) -> None:
    assert api.start(**changes).status == 400


def test_an_integer_of_thousands_of_digits_is_a_400(api: AppClient) -> None:
    body = changed(jobId="@").replace(b'"@"', b"9" * 10_000)
    assert api.post("/api/jobs/start_job/", body).status == 400


@pytest.mark.parametrize(
    "body", [b"1e999", b"[" * 100_000, b'{"a":' * 100_000, b'{"jobId": NaN}', b'{"jobId": Infinity}']
)
def test_hostile_json_is_a_400(api: AppClient, body: bytes) -> None:
    assert api.post("/api/jobs/start_job/", body).status == 400


def test_a_nul_character_is_removed(api: AppClient) -> None:
    body = changed(user="al\0ice", metaData={"job\0Name": "a\0b"})
    assert b"\\u0000" in body
    assert api.post("/api/jobs/start_job/", body).status == 201
    job = Job.objects.get()
    assert (job.user, job.metadata) == ("alice", {"jobName": "ab"})


def test_a_raw_nul_byte_is_removed(api: AppClient) -> None:
    assert api.post("/api/jobs/start_job/", changed(user="al@ice").replace(b"@", b"\0")).status == 201
    assert Job.objects.get().user == "alice"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("jörg".encode("latin-1"), "j\ufffdrg"),
        (b"\xed\xa0\x80", "\ufffd" * 3),
        (b"\\ud800", "\ufffd"),
        (b"a\\udc00b", "a\ufffdb"),
        (b"\\ud83d\\ude00", "😀"),
        ("ü😀".encode(), "ü😀"),
    ],
)
def test_what_is_no_text_becomes_the_replacement_character(api: AppClient, raw: bytes, text: str) -> None:
    body = changed(metaData={"jobScript": "@"}, user="@").replace(b"@", raw)
    assert api.post("/api/jobs/start_job/", body).status == 201
    job = Job.objects.get()
    assert (job.user, job.metadata["jobScript"]) == (text, text)
    assert api.get("/api/jobs/?with-metadata=true").json["jobs"][0]["metaData"] == {"jobScript": text}


@pytest.mark.parametrize(
    "body", [b"", b" \n", b"{", b'{"jobId": 1', b"jobId=1", b"[]", b"1", b'"x"', b"null", b"{} {}"]
)
def test_a_body_that_is_no_object_is_refused_and_says_so(body: bytes) -> None:
    assert refusal(body).startswith("parsing request body failed: ")


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"jobId": "abc"}, ["jobId", "abc", "int"]),
        ({"user": 5}, ["user", "5", "str"]),
        ({"resources": "x"}, ["resources", "x", "array"]),
        ({"resources": [{"hostname": 1}]}, ["resources[0].hostname", "1", "str"]),
        ({"resources": [{"hostname": "a", "hwthreads": [1, "x"]}]}, ["resources[0].hwthreads[1]", "x", "int"]),
        ({"metaData": {"a": "x", "b": 7}}, ["metaData.b", "7", "str"]),
        ({"metaData": "x"}, ["metaData", "x", "object"]),
        ({"tags": [{"type": 1, "name": "x"}]}, ["tags[0].type", "1", "str"]),
        ({"user": "x" * 256}, ["user", "xxx", "255"]),
    ],
)
def test_a_refusal_names_the_field_the_value_and_what_was_expected(changes: dict[str, Any], parts: list[str]) -> None:
    message = refusal(changed(**changes))
    assert [part for part in parts if part not in message] == [], message
    assert len(message) < 400


MEBIBYTE = 1 << 20
SCRIPT = "echo and so on\n" * (MEBIBYTE // 16)
TREE = b"[" + b"[]," * (MEBIBYTE // 3) + b"[]]"


@pytest.mark.parametrize(
    ("body", "message", "most"),
    [
        (changed(metaData={"jobScript": SCRIPT}), StartJob, 2.5),
        (changed(METADATA={"jobScript": SCRIPT}), StartJob, 2.5),
        (changed(jobId="7", metaData={"jobScript": SCRIPT}), StartJob, 2.5),
        (changed(jobId="x", metaData={"jobScript": SCRIPT}), StartJob, 2.5),
        (changed(unknown=1, metaData={"jobScript": SCRIPT}), StartJob, 2.5),
        (changed(metaData={"jobScript": f"\0{SCRIPT}"}), StartJob, 3.5),
        (changed(submitTime="@").replace(b'"@"', TREE), StartJob, 1),
        (changed(SUBMITTIME="@").replace(b'"@"', TREE), StartJob, 1),
        (changed(Statistics="@").replace(b'"@"', TREE), StartJob, 1),
        (changed(startTime="@").replace(b'"@"', TREE), StartJob, 1),
        (json.dumps({"jobId": "7", "cluster": SCRIPT}).encode(), StopJob, 2.5),
        (json.dumps({"JobState": SCRIPT}).encode(), StopJobById, 2.5),
        (b'{"StopTime": 1, "cluster": %s}' % TREE, StopJobById, 1),
        (b'{"StopTime": 1, "jobId": %s}' % TREE, StopJob, 1),
    ],
    ids=[str(number) for number in range(14)],
)
def test_a_large_body_takes_about_twice_its_size_in_memory(body: bytes, message: Any, most: float) -> None:
    """Its text and the decoder's buffer; once more if characters are replaced. Trees took 30 times as much."""
    tracemalloc.start()
    try:
        with contextlib.suppress(InvalidJobError):
            decode(body, message)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < most * len(body) + 100_000


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (rb"\u0000", ""),
        (rb"\\u0000", r"\u0000"),
        (rb"\\\u0000x", r"\x"),
        (rb"\uD83D\uDE00\u0000\ud83d", "\U0001f600\ufffd"),
        (rb"\\\\ud83d", r"\\ud83d"),
        (rb"\ud83d\u0041", "\ufffdA"),
        (rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
    ],
)
def test_only_what_is_no_text_is_replaced(escaped: bytes, text: str) -> None:
    body = b'{"jobId": "1", "metaData": {"a": "' + escaped + b'\xf6"}}'
    assert decode(body, StartJob).meta_data == {"a": f"{text}\ufffd"}


def test_unusual_but_valid_json_is_taken() -> None:
    assert decode(b'\r\n\t {"job\\u0049d" : 5 }\n', StartJob).job_id == 5
