"""Each operation, parameter, property and status of the contract (table.py) has its place in our OpenAPI schema, and
in what the server does."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from ccbackend import __version__
from jobs.states import JobState, final_state, is_start_state
from tests.contract.table import JOB, JOB_META, JOB_STATES, OPERATIONS, ROLES, SCOPES, USER, Operation, names_in
from tests.support.clients import AppClient
from tests.support.factories import JobFactory, TagFactory

WITH_BODY = [operation for operation in OPERATIONS if operation.body is not None]


@pytest.fixture(scope="module")
def ours() -> Any:
    """Return our OpenAPI description."""
    answer = Client().get("/api/schema/", HTTP_ACCEPT="application/vnd.oai.openapi+json")
    assert answer.status_code == 200
    return answer.json()


def operations(description: Any) -> dict[tuple[str, str], Any]:
    """Return the operations by method and path; names of path parameters and the last slash do not matter."""
    found = {}
    for path, methods in description["paths"].items():
        parts = ["{}" if part.startswith("{") else part for part in path.strip("/").split("/")]
        for method, operation in methods.items():
            if method in ("get", "post", "put", "patch", "delete"):
                shared = methods.get("parameters", [])
                key = (method, "/".join(parts))
                found[key] = operation | {"parameters": [*shared, *operation.get("parameters", [])]}
    return found


def resolved(description: Any, schema: Any) -> Any:
    """Follow references."""
    while isinstance(schema, dict) and "$ref" in schema:
        value = description
        for step in schema["$ref"].removeprefix("#/").split("/"):
            value = value[step]
        schema = value
    return schema


def properties(description: Any, schema: Any, depth: int = 0) -> Iterator[str]:
    """Yield the names of all properties of a schema, with those that they hold, as dotted paths."""
    schema = resolved(description, schema)
    if not isinstance(schema, dict) or depth > 8:
        return
    for part in [*schema.get("allOf", []), *schema.get("anyOf", []), *schema.get("oneOf", [])]:
        yield from properties(description, part, depth + 1)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from (f"[].{name}" for name in properties(description, schema[key], depth + 1))
    for name, part in schema.get("properties", {}).items():
        yield name
        yield from (f"{name}.{inner}" for inner in properties(description, part, depth + 1))


def our_body(ours: Any, operation: Any) -> list[Any]:
    """Return the schemas of an operation's request body, one per media type."""
    return [
        part.get("schema", {}) for part in resolved(ours, operation.get("requestBody", {})).get("content", {}).values()
    ]


def our_answer(ours: Any, operation: Any, status: int) -> list[Any]:
    """Return the schemas of an answer, one per media type."""
    answer = resolved(ours, operation["responses"][str(status)])
    return [part.get("schema", {}) for part in answer.get("content", {}).values()]


def test_each_operation_has_its_place(ours: Any) -> None:
    assert {operation.key for operation in OPERATIONS} - set(operations(ours)) == set()


def test_each_status_code_has_its_place(ours: Any) -> None:
    mine = operations(ours)
    missing = {
        (*operation.key, status)
        for operation in OPERATIONS
        for status in operation.statuses
        if str(status) not in mine[operation.key]["responses"]
    }
    assert missing == set()


def test_each_parameter_has_its_place(ours: Any) -> None:
    mine, missing = operations(ours), set()
    for operation in OPERATIONS:
        named = {(parameter["in"], parameter["name"]) for parameter in mine[operation.key]["parameters"]}
        fields = {name for schema in our_body(ours, mine[operation.key]) for name in properties(ours, schema)}
        for name, place, _ in operation.parameters:
            there = {
                "query": ("query", name) in named,
                "path": any(kind == "path" for kind, _ in named),
                "formData": name in fields or ("query", name) in named,
            }[place]
            if not there:
                missing.add((*operation.key, place, name))
    assert missing == set()


def test_no_parameter_is_required_that_the_contract_leaves_optional(ours: Any) -> None:
    mine = operations(ours)
    for operation in OPERATIONS:
        optional = {name for name, _, required in operation.parameters if not required}
        parameters = mine[operation.key]["parameters"]
        required = {parameter["name"] for parameter in parameters if parameter.get("required")}
        if operation.body is None:
            required |= {name for schema in our_body(ours, mine[operation.key]) for name in schema.get("required", [])}
        assert required & optional == set(), operation.key


def test_each_property_of_a_request_body_has_its_place(ours: Any) -> None:
    """What a client may send; keys that only an answer has (statistics) are taken and ignored by our Structs."""
    mine, missing = operations(ours), set()
    for operation in WITH_BODY:
        bodies = our_body(ours, mine[operation.key])
        assert bodies, operation.key
        there = {name for schema in bodies for name in properties(ours, schema)}
        ignored = ("statistics.", "concurrentJobs.", "[].id")
        wanted = {name for name in names_in(operation.body) if not name.startswith(ignored)}
        missing |= {(*operation.key, name) for name in wanted - there}
    assert missing == set()


def test_each_property_of_an_answer_has_its_place(ours: Any) -> None:
    mine, missing = operations(ours), set()
    for operation in OPERATIONS:
        for status in operation.statuses:
            wanted = names_in(operation.refusal if status >= 400 else operation.answer)
            schemas = our_answer(ours, mine[operation.key], status)
            there = {name for schema in schemas for name in properties(ours, schema)}
            missing |= {(*operation.key, status, name) for name in wanted - there}
    assert missing == set()


def test_the_words_of_the_contract_are_ours(ours: Any) -> None:
    (states,) = [
        parameter["schema"]["items"]["enum"]
        for parameter in operations(ours)["get", "api/jobs"]["parameters"]
        if parameter["name"] == "state"
    ]
    assert set(states) == set(JobState.values) == JOB_STATES
    fields = our_body(ours, operations(ours)["post", "api/user/{}"])[0]["properties"]
    assert set(fields["add-role"]["enum"]) == set(fields["remove-role"]["enum"]) == ROLES


def test_both_token_headers_are_described(ours: Any) -> None:
    schemes = ours["components"]["securitySchemes"].values()
    assert any(scheme.get("name") == "X-Auth-Token" and scheme.get("in") == "header" for scheme in schemes)
    assert any(scheme.get("scheme", "").lower() == "bearer" for scheme in schemes)


def test_the_interactive_page_uses_local_assets_alone(db: None) -> None:
    for path in ("/api/docs/", "/api/docs/?script="):
        page = Client().get(path).content.decode()
        assert "swagger" in page.lower()
        assert re.findall(r'(?:src|href)="(?!/[^/]|/"|data:)[^"]*"', page) == []
        assert "https://" not in page.replace("https://localhost", "")


# What the server does


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: "-".join(operation.key))
def test_each_operation_is_served_and_answers_with_a_status_of_the_contract(
    operation: Operation, anonymous: AppClient, admin_api: AppClient
) -> None:
    path = f"/api{operation.path.replace('{id}', '1').replace('{ts}', '1')}"
    for place in {path, path.rstrip("/"), f"{path.rstrip('/')}/"}:
        answer = admin_api.request(operation.method.upper(), place)
        assert answer.status in operation.statuses - {401, 403, 500}
        assert anonymous.request(operation.method.upper(), place).status == 401


def unlike(value: Any, described: Any) -> Iterator[str]:
    """Yield the properties of a value that the contract has not."""
    if described is None or value is None:
        return
    if isinstance(described, list):  # a list, or a map by names of its own
        for item in value.values() if isinstance(value, dict) else value:
            yield from unlike(item, described[0])
        return
    for name, part in value.items():
        if name in described:
            yield from unlike(part, described[name])
        else:
            yield name


def test_the_objects_of_answers_have_the_properties_of_the_contract(
    admin_api: AppClient, cluster: Path, synthetic: None
) -> None:
    JobFactory.create(
        archived=True,
        array_job_id=7,
        num_acc=1,
        num_hwthreads=2,
        smt=1,
        resources='[{"hostname":"n01","hwthreads":[0,1],"accelerators":["0"],"configuration":"x"}]',
        tags=[TagFactory.create()],
    )
    running = admin_api.started(startTime=int(time.time()) - 600)
    listed = admin_api.get("/api/jobs/?with-metadata=true&state=completed").json
    (job,) = listed["jobs"]
    assert set(job) == set(JOB_META)
    tagged = admin_api.post(f"/api/jobs/tag_job/{job['id']}", []).json
    assert set(tagged) == set(JOB)
    sampled = admin_api.get(f"/api/jobs/{running}").json
    assert {item["scope"] for item in sampled["data"]} <= SCOPES
    users = admin_api.get("/api/users/").json
    assert all(set(user) == set(USER) for user in users)
    answers = {"api/jobs": listed, "api/jobs/tag_job/{}": tagged, "api/jobs/{}": sampled, "api/users": users}
    described = {operation.key[1]: operation.answer for operation in OPERATIONS if operation.answer}
    assert [name for path, answer in answers.items() for name in unlike(answer, described[path])] == []


def test_a_start_with_each_property_of_the_contract_is_taken(api: AppClient) -> None:
    body = {
        "id": 1,
        "arrayJobId": 5,
        "numHwthreads": 2,
        "numAcc": 1,
        "smt": 1,
        "monitoringStatus": 1,
        "jobState": "running",
        "duration": 1,
        "tags": [{"id": 1, "type": "a", "name": "b"}],
        "resources": [{"hostname": "n01", "hwthreads": [0, 1], "accelerators": ["0"], "configuration": "x"}],
        "metaData": {"jobName": "a job"},
        "concurrentJobs": {"items": [{"id": 1, "jobId": 2}], "count": 1},
        "statistics": {"cpu_load": {"unit": {"base": "", "prefix": ""}, "avg": 1, "min": 1, "max": 1}},
    }
    answer = api.start(**body)
    assert answer.status == 201
    sent = {"jobId", "user", "project", "cluster", "subCluster", "partition", "numNodes", "exclusive", "startTime"}
    assert set(body) | sent | {"walltime"} == set(JOB_META)


# What generators of clients need


def parts(value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each object in a description with its place."""
    if isinstance(value, dict):
        yield path, value
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from parts(part, f"{path}/{key}")


def test_every_integer_has_a_format(ours: Any) -> None:
    integers = [(path, part) for path, part in parts(ours) if part.get("type") == "integer" and "enum" not in part]
    assert len(integers) > 30
    assert [path for path, part in integers if part.get("format") not in ("int32", "int64")] == []
    schemas = ours["components"]["schemas"]
    assert {schemas[name]["properties"]["jobId"]["format"] for name in ("StartJob", "StopJob", "Job", "JobMeta")} == {
        "int64"
    }
    assert schemas["Job"]["properties"]["startTime"] == {"type": "string", "format": "date-time"}


def test_null_is_described_only_where_an_answer_can_be_null(ours: Any) -> None:
    nullable = {
        path.removeprefix("/components/schemas/").replace("/properties/", ".")
        for path, part in parts(ours)
        if {"type": "null"} in part.get("anyOf", [])
    }
    assert nullable == {
        "GetCompleteJobApiResponse.data",
        "Job.metaData",
        "Job.metaData/anyOf/0/additionalProperties",
        "JobLinkResultList.items",
        "JobMeta.metaData",
        "JobMeta.metaData/anyOf/0/additionalProperties",
        "JobMeta.statistics",
        "JobMetric.statisticsSeries",
        "Series.data/items",
        "Series.statistics",
        "StartJob.metaData/additionalProperties",
        "StatsSeries.max/items",
        "StatsSeries.mean/items",
        "StatsSeries.min/items",
        "StatsSeries.percentiles/additionalProperties/items",
        "UsageLine.meanWait",
    }


def test_keys_that_a_call_needs_are_required_and_no_others(ours: Any, api: AppClient) -> None:
    schemas = ours["components"]["schemas"]
    assert set(schemas["StartJob"]["required"]) == {"jobId", "user", "cluster", "startTime", "resources"}
    assert schemas["StopJob"]["required"] == ["jobId", "stopTime"]
    least = {"jobId": 5, "user": "ada", "cluster": "fritz", "startTime": 1_700_000_000}
    least["resources"] = [{"hostname": "n01"}]
    for key in least:
        assert (
            api.post("/api/jobs/start_job/", {name: part for name, part in least.items() if name != key}).status == 400
        )
    assert api.post("/api/jobs/start_job/", least).status == 201
    assert api.post("/api/jobs/stop_job/", {"jobId": 5, "stopTime": 1_700_000_009}).status == 200


def test_each_operation_takes_either_header_and_requires_its_body(ours: Any) -> None:
    optional = {("post", "api/jobs/{}"), ("delete", "api/users")}
    for key, operation in operations(ours).items():
        assert operation["security"] == [{"ApiKeyAuth": []}, {"BearerAuth": []}, {"AdminSession": []}], key
        if "requestBody" in operation:
            assert operation["requestBody"]["required"] == (key not in optional), key


def test_the_states_of_bodies_are_those_that_calls_take(ours: Any) -> None:
    schemas = ours["components"]["schemas"]
    assert set(schemas["JobState"]["enum"]) == set(JobState.values)
    for name, word in (("StartJob", is_start_state), ("StopJob", final_state), ("StopJobById", final_state)):
        assert all(map(word, schemas[name]["properties"]["jobState"]["enum"])), name


def test_the_description_names_version_licence_server_and_tags(ours: Any) -> None:
    assert ours["info"]["version"] == __version__
    assert ours["info"]["license"]["identifier"] == "MIT"
    assert ours["servers"][0]["url"] == "/"
    assert {tag["name"] for tag in ours["tags"]} == {
        tag for operation in operations(ours).values() for tag in operation["tags"]
    }
