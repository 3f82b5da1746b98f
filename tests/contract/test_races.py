"""Many clients at once on a server as in production: exactly one wins, nobody gets a 500."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.clients import Answer, WireClient, at_once, start_body
from tests.support.server import Server, running_server

pytestmark = pytest.mark.server

CLIENTS = 16
ROUNDS = 50
START = 1_700_000_000

Call = Callable[[WireClient, int], Answer]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return one server for all races; each uses job ids of its own."""
    with running_server(tmp_path_factory.mktemp("races")) as running:
        yield running


@pytest.fixture(scope="module")
def clients(server: Server) -> Iterator[list[WireClient]]:
    """Return clients with open connections."""
    found = [server.client() for _ in range(CLIENTS)]
    for client in found:
        assert client.get("/api/jobs/?items-per-page=1").status == 200
    yield found
    for client in found:
        client.close()


def race(clients: list[WireClient], call: Call) -> Counter[int]:
    """Make a call from every client at the same moment and count the statuses."""
    answers = at_once([lambda c=client, n=number: call(c, n) for number, client in enumerate(clients)])  # type: ignore[misc]
    return Counter(answer.status for answer in answers)


def test_of_identical_starts_one_wins(clients: list[WireClient]) -> None:
    for number in range(ROUNDS):
        body = start_body(jobId=10_000 + number, tags=[{"type": "race", "name": f"n{number}"}])
        assert race(clients, lambda client, _: client.post("/api/jobs/start_job/", body)) == {201: 1, 422: 15}  # noqa: B023


def test_of_starts_one_second_apart_one_wins(clients: list[WireClient]) -> None:
    for number in range(ROUNDS):

        def start(client: WireClient, place: int, job_id: int = 20_000 + number) -> Answer:
            return client.start(jobId=job_id, startTime=START + place)

        assert race(clients, start) == {201: 1, 422: 15}


def test_of_two_starts_one_second_apart_one_wins(clients: list[WireClient]) -> None:
    for number in range(ROUNDS):

        def start(client: WireClient, place: int, job_id: int = 25_000 + number) -> Answer:
            return client.start(jobId=job_id, startTime=START + place)

        assert race(clients[:2], start) == {201: 1, 422: 1}


@pytest.mark.parametrize("word", ["completed", "node_fail"])
@pytest.mark.parametrize("by_id", [True, False])
def test_of_identical_stops_one_wins(clients: list[WireClient], word: str, by_id: bool) -> None:
    for number in range(ROUNDS // (1 if word == "completed" else 5)):
        job_id = 30_000 + number + 1000 * by_id + 2000 * (word == "completed")
        path = "/api/jobs/stop_job/"
        row_id = clients[0].started(jobId=job_id)
        if by_id:
            path += str(row_id)
        body = {"jobId": job_id, "stopTime": START + 60, "jobState": word}
        assert race(clients, lambda client, _: client.post(path, body)) == {200: 1, 422: 15}  # noqa: B023


def test_of_identical_deletions_one_wins(clients: list[WireClient]) -> None:
    for number in range(ROUNDS // 5):
        row_id = clients[0].started(jobId=40_000 + number)
        path = f"/api/jobs/delete_job/{row_id}"
        assert race(clients, lambda client, _: client.delete(path)) == {200: 1, 422: 15}  # noqa: B023


def test_all_identical_taggings_succeed_and_make_one_tag(clients: list[WireClient]) -> None:
    for number in range(ROUNDS):
        row_id = clients[0].started(jobId=50_000 + number)
        tags = [{"type": "same", "name": f"n{number}"}, {"type": "same", "name": f"m{number}"}]
        assert race(clients, lambda client, _: client.post(f"/api/jobs/tag_job/{row_id}", tags)) == {200: 16}  # noqa: B023
        assert len(clients[0].post(f"/api/jobs/tag_job/{row_id}", []).json["tags"]) == 2


def test_new_tags_in_different_order_on_different_jobs_all_succeed(clients: list[WireClient]) -> None:
    """Two transactions that insert the same new tags in opposite order must not wait for each other."""
    rows = [clients[0].started(jobId=60_000 + number) for number in range(CLIENTS)]
    for number in range(ROUNDS // 10):
        tags = [{"type": "order", "name": f"{number}-{index}"} for index in range(300)]

        def tag(client: WireClient, place: int, tags: list[Any] = tags) -> Answer:
            return client.post(f"/api/jobs/tag_job/{rows[place]}", tags[:: 1 if place % 2 else -1])

        assert race(clients, tag) == {200: 16}


def test_starts_stops_lists_and_deletions_together_have_no_failure(clients: list[WireClient]) -> None:
    def life(client: WireClient, place: int) -> Counter[int]:
        statuses: Counter[int] = Counter()
        for number in range(25):
            job_id = 70_000 + 100 * place + number
            statuses[client.start(jobId=job_id, tags=[{"type": "mix", "name": f"{number}"}]).status] += 1
            statuses[client.get("/api/jobs/?state=running&items-per-page=50").status] += 1
            statuses[client.stop(jobId=job_id, stopTime=START + 5).status] += 1
            if number % 5 == 0:
                statuses[client.delete("/api/jobs/delete_job/", {"jobId": job_id}).status] += 1
        return statuses

    counts = at_once([lambda c=client, n=number: life(c, n) for number, client in enumerate(clients)])  # type: ignore[misc]
    assert sum(counts, Counter[int]()) == {201: CLIENTS * 25, 200: CLIENTS * (25 + 25 + 5)}
