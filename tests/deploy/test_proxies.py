"""nginx and Apache as deploy/ configures them, real ones, with TLS: a hook's call, a log-in, the client's address."""

import json
import re
import shutil
import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.clients import start_body
from tests.support.proxies import NAME, Proxy, program, running_proxy
from tests.support.server import Server, running_server

pytestmark = pytest.mark.server

PASSWORD = "Tannenzapfen-17"
SETTINGS = {
    "BEHIND_TLS_PROXY": "true",
    "ALLOWED_HOSTS": f"{NAME},127.0.0.1",  # the latter for the questions of the tests themselves
    "CSRF_TRUSTED_ORIGINS": f"https://{NAME}",
    "TRUSTED_PROXIES": "127.0.0.1",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server whose settings are those that the files ask for."""
    with running_server(tmp_path_factory.mktemp("server") / "server", workers=1, settings=SETTINGS) as started:
        yield started


@pytest.fixture(scope="module", params=["nginx", "apache"])
def proxy(request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Return a proxy in front of the server."""
    if not program(request.param) or not shutil.which("openssl"):
        pytest.skip(f"no {request.param} or no openssl here; make test unpacks Debian's packages")
    with running_proxy(request.param, tmp_path_factory.mktemp("proxy") / "proxy", server.port) as started:
        yield started


@pytest.fixture
def client(proxy: Proxy) -> Iterator[httpx.Client]:
    """Return a client that finds the public name at the address of the proxy."""
    with _client(proxy) as made:
        yield made


def _client(proxy: Proxy, **options: Any) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(proxy.certificate))
    transport = httpx.HTTPTransport(verify=context, **options)
    made = httpx.Client(transport=transport, base_url=f"https://{proxy.https}", headers={"Host": NAME}, timeout=60)
    made.event_hooks["request"].append(lambda request: request.extensions.update(sni_hostname=NAME))
    return made


def test_a_hook_starts_and_stops_a_job_with_a_large_script(client: httpx.Client, server: Server, proxy: Proxy) -> None:
    headers = {"X-Auth-Token": server.tokens["bench"]}
    body = start_body(jobId=int(proxy.https[-4:]), metaData={"jobScript": "x" * 2_000_000})
    started = client.post("/api/jobs/start_job/", json=body, headers=headers)
    assert started.status_code == 201, started.text
    stop = {"jobId": body["jobId"], "jobState": "completed", "stopTime": body["startTime"] + 60}
    assert client.post("/api/jobs/stop_job/", json=stop, headers=headers).status_code == 200
    listed = client.get(f"/api/jobs/?job-id={body['jobId']}&with-metadata=true", headers=headers).json()
    assert len(listed["jobs"][0]["metaData"]["jobScript"]) == 2_000_000


def test_plain_http_leads_to_tls(proxy: Proxy) -> None:
    answer = httpx.get(f"http://{proxy.http}/admin/?a=b", headers={"Host": NAME})
    assert (answer.status_code, answer.headers["Location"]) == (301, f"https://{NAME}/admin/?a=b")


def test_a_person_logs_in_and_stays_on_tls(client: httpx.Client, server: Server, proxy: Proxy) -> None:
    username = f"ada{proxy.https[-4:]}"
    made = client.post(
        "/api/users/",
        data={"username": username, "password": PASSWORD, "role": "user", "name": "", "email": "", "project": ""},
        headers={"X-Auth-Token": server.tokens["admin"]},
    )
    assert made.status_code == 200, made.text
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get("/admin/login/").text)
    assert token
    form = {"csrfmiddlewaretoken": token[1], "username": username, "password": PASSWORD, "next": "/admin/"}
    origin = {"Origin": f"https://{NAME}", "Referer": f"https://{NAME}/admin/login/"}
    answer = client.post("/admin/login/", data=form, headers=origin)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/my-jobs/")
    cookies = answer.headers.get_list("Set-Cookie")
    assert cookies
    assert all("Secure" in cookie for cookie in cookies)


def test_the_client_is_the_one_that_connects_whatever_it_says(proxy: Proxy, server: Server) -> None:
    with _client(proxy, local_address="127.0.0.2") as client:
        path = f"/api/jobs/?of={proxy.https[-4:]}"
        answer = client.get(path, headers={"X-Forwarded-For": "192.0.2.9", "X-Auth-Token": "wrong"})
    assert answer.status_code == 401
    server.wait_until(lambda: "from 127.0.0.2" in server.logs())
    assert "192.0.2.9" not in server.logs()


def test_an_answer_of_the_server_itself_arrives_as_it_is(client: httpx.Client) -> None:
    answer = client.get("/api/jobs/")
    assert answer.status_code == 401
    assert json.loads(answer.text)["error"]
