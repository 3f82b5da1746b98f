"""ccbackend.compression: pages, answers of the API and downloads are packed by gzip for clients that take it."""

import gzip
import zlib
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from ccbackend.compression import LEAST, packed, takes_gzip
from ccbackend.fastpath.handler import FastHandler, Handler
from tests.support.admin_site import Login
from tests.support.clients import Answer, AppClient, start_body
from tests.support.factories import JobFactory, token_for

pytestmark = pytest.mark.django_db

GZIP = {"accept-encoding": "gzip, deflate"}


@pytest.fixture(params=[FastHandler, Handler])
def caller(request: pytest.FixtureRequest, archive_root: Any, bench: User) -> AppClient:
    """Return a client of the short way, and one of Django's own."""
    return AppClient(request.param(), token_for(bench))


def get(caller: AppClient, path: str, **headers: str) -> Answer:
    """Get an answer as it is sent."""
    return caller.send("GET", path, None, {"x-auth-token": caller.token or "", **headers})


@pytest.mark.parametrize("part", [1000, 7], ids=["whole", "streamed"])
def test_lists_are_packed_for_clients_that_take_it(
    part: int, caller: AppClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.api.pages.PART", part)
    JobFactory.create_batch(30, finished=True)
    plain = get(caller, "/api/jobs/?items-per-page=25")
    answer = get(caller, "/api/jobs/?items-per-page=25", **{"accept-encoding": "gzip"})

    assert "content-encoding" not in plain.headers
    assert (answer.headers["content-encoding"], answer.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(answer.body) == plain.body
    assert len(answer.body) < len(plain.body) / 3
    assert answer.headers.get("content-length") == (str(len(answer.body)) if part == 1000 else None)


def test_what_fits_into_a_packet_is_sent_as_it_is(caller: AppClient) -> None:
    answer = caller.post("/api/jobs/start_job/", start_body(jobId=1), headers={"accept-encoding": "gzip"})
    assert answer.status == 201
    assert "content-encoding" not in answer.headers
    assert "content-encoding" not in get(caller, "/api/jobs/", **{"accept-encoding": "gzip"}).headers


def test_pages_are_packed(admin: User, login: Login) -> None:
    client = login(admin)
    plain = client.get("/admin/")
    page = client.get("/admin/", headers=GZIP)

    assert "Accept-Encoding" in plain["Vary"]
    assert page["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in page["Vary"]
    assert b"</html>" in gzip.decompress(page.content)
    assert len(page.content) < len(plain.content) / 2


def test_downloads_are_packed_and_can_be_read_before_their_end(admin: User, login: Login) -> None:
    JobFactory.create_batch(3)
    client = login(admin)
    plain: Any = client.get("/admin/jobs/job/export/csv/")
    answer: Any = client.get("/admin/jobs/job/export/csv/", headers=GZIP)

    text = b"".join(plain.streaming_content)
    parts = list(answer.streaming_content)
    assert answer["Content-Encoding"] == "gzip"
    assert gzip.decompress(b"".join(parts)) == text
    assert zlib.decompressobj(wbits=31).decompress(b"".join(parts[:2])) == text


def test_what_is_packed_already_stays(admin: User, login: Login) -> None:
    JobFactory.create()
    answer = login(admin).get("/admin/jobs/job/export/parquet/", headers=GZIP)
    assert not answer.has_header("Content-Encoding")
    static = Client().get("/static/" + _style(), headers=GZIP)
    assert static["Content-Encoding"] == "gzip"


def _style() -> str:
    page = Client().get("/admin/login/").content.decode()
    return page.partition("/static/")[2].partition('"')[0]


def test_a_part_that_is_large_or_empty_comes_out_as_it_was() -> None:
    parts = [b"", b"x" * 5_000_000, b"", b"end"]
    assert gzip.decompress(b"".join(packed(parts))) == b"".join(parts)


def test_the_length_of_an_answer_varies() -> None:
    assert len({len(b"".join(packed([b"x" * LEAST]))) for _ in range(30)}) > 5


@pytest.mark.parametrize(
    ("accepted", "taken"),
    [
        ("gzip", True),
        ("br, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0, br", False),
        ("br", False),
        ("", False),
    ],
)
def test_a_client_says_whether_it_takes_gzip(accepted: str, taken: bool) -> None:
    assert takes_gzip(accepted) == taken
