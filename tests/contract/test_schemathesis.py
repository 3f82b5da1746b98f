"""Random calls of every operation of the API's own description: each answer is a described one, and none is 5xx.

FUZZ_EXAMPLES calls of each operation, of valid and of invalid ones; by default few, and the same ones in each run.
"""

import json
import os
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from django.apps import apps
from django.core.management.color import no_style
from django.db import connection, transaction
from hypothesis import HealthCheck, strategies
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok

from accounts import credentials
from accounts.models import User
from tests.support.api_schema import description
from tests.support.clients import Answer, AppClient

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "6"))
STEPS = 20
STEADY = "FUZZ_EXAMPLES" not in os.environ
SETTINGS = hypothesis.settings(
    max_examples=EXAMPLES,
    derandomize=STEADY,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate, hypothesis.Phase.shrink],
)


def operations() -> dict[str, Any]:
    """Return the operations of the description by method and path."""
    return {result.ok().label: result.ok() for result in SCHEMA.get_all_operations() if isinstance(result, Ok)}


SCHEMA = schemathesis.openapi.from_dict(description())
OPERATIONS = operations()


@schemathesis.serializer("application/x-ndjson")
def _lines_of_json(context: Any, value: Any) -> bytes:
    """Send three lines, two of them the same."""
    line = value if isinstance(value, bytes) else json.dumps(value, default=str).encode()
    return b"\n".join([line, line, b"{}"])


def known_values(job: int) -> dict[str, Any]:
    """Return values of parameters and keys that name what exists, by name."""
    return {
        "id": job,
        "jobId": 1001,
        "cluster": "testcluster",
        "startTime": 1_700_000_000,
        "stopTime": 1_700_000_100,
        "username": "alice",
    }


def prepared(case: Case[Any]) -> requests.PreparedRequest:
    """Return a generated call as it goes over the wire."""
    return requests.Request(**case.as_transport_kwargs(base_url="http://127.0.0.1:8080")).prepare()


def send(client: AppClient, request: requests.PreparedRequest, *, with_token: bool = True) -> Answer:
    """Send a call through the application, with the client's token or what was generated; the client checks it."""
    names = ["Content-Type", "Authorization"] + ([] if with_token else ["X-Auth-Token", "Cookie"])
    headers = as_sent({name: request.headers[name] for name in names if name in request.headers})
    body = request.body.encode() if isinstance(request.body, str) else request.body
    assert request.method is not None
    token = "" if with_token else None
    answer = client.request(request.method, request.path_url, body, headers=headers, token=token)
    assert answer.status < 500, answer
    return answer


def as_sent(headers: dict[str, Any]) -> dict[str, str]:
    """Return headers as a WSGI server gives them on: bytes read as Latin-1."""
    return {name: value.decode("latin-1") if isinstance(value, bytes) else value for name, value in headers.items()}


@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: str(mode.value))
@pytest.mark.parametrize("label", OPERATIONS)
def test_every_answer_to_random_calls_is_described(
    admin_api: AppClient, alice: User, label: str, mode: GenerationMode
) -> None:
    known = known_values(admin_api.started())

    @SETTINGS
    @hypothesis.given(
        case=OPERATIONS[label].as_strategy(generation_mode=mode),
        names=strategies.sets(strategies.sampled_from(sorted(known))),
        with_token=strategies.sampled_from([True] * 7 + [False]),
    )
    def call(case: Case[Any], names: set[str], with_token: bool) -> None:
        for container in (case.path_parameters, case.body):
            if isinstance(container, dict):
                container.update({name: known[name] for name in names if name in container})
        send(admin_api, prepared(case), with_token=with_token)

    call()


def test_every_answer_to_random_sequences_of_calls_is_described(admin_api: AppClient, alice: User) -> None:
    """Later calls take ids and names from the answers to earlier ones.

    Each sequence begins with the same rows and gives the same ids: Hypothesis repeats the beginning of some, and takes
    other answers as a fault of the test.
    """

    class Workflow(SCHEMA.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            self.before = transaction.savepoint()
            with connection.cursor() as cursor:
                for statement in connection.ops.sequence_reset_sql(no_style(), apps.get_models()):
                    cursor.execute(statement)

        def teardown(self) -> None:
            transaction.savepoint_rollback(self.before)
            credentials.clear_cache()

        def call(self, case: Case[Any], **_: Any) -> schemathesis.Response:
            request = prepared(case)
            answer = send(admin_api, request)
            headers = {name: [value] for name, value in answer.headers.items()}
            return schemathesis.Response(answer.status, headers, answer.body, request, elapsed=0, verify=False)

        def validate_response(self, response: schemathesis.Response, case: Case[Any], *_: Any, **__: Any) -> None:
            """Leave that to the client."""

    Workflow.run(settings=hypothesis.settings(SETTINGS, stateful_step_count=STEPS))
