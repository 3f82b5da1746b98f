"""A log-in at a real nginx and a real Apache, as docs/security.md has it, which they alone can vouch for."""

import re
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.paths import PROJECT
from tests.support.proxies import LOG_IN, NAME, Proxy, program, running_proxy
from tests.support.server import Server, running_server

pytestmark = pytest.mark.server

PASSWORD = "Tannenzapfen-17"
PAGE = "/admin/accounts/apitoken/own/"
SETTINGS = {
    "BEHIND_TLS_PROXY": "true",
    "ALLOWED_HOSTS": f"{NAME},127.0.0.1",
    "CSRF_TRUSTED_ORIGINS": f"https://{NAME}",
    "TRUSTED_PROXIES": "127.0.0.1",
    "REMOTE_USER_HEADER": "X-Remote-User",
    "REMOTE_GROUPS_HEADER": "X-Remote-Groups",
    "GROUP_ROLES": '{"*": ["user"], "hpc-staff": ["support"]}',
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server that believes a proxy on this machine."""
    with running_server(tmp_path_factory.mktemp("server") / "server", workers=1, settings=SETTINGS) as started:
        yield started


@pytest.fixture(params=["nginx", "apache"])
def kind(request: pytest.FixtureRequest) -> str:
    """Return a kind of proxy that is here."""
    if not program(request.param) or not shutil.which("openssl"):
        pytest.skip(f"no {request.param} or no openssl here; make test unpacks Debian's packages")
    return str(request.param)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that the account of a proxy can read."""
    made = Path(tempfile.mkdtemp(prefix="ccbackend-proxy-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def client(proxy: Proxy) -> httpx.Client:
    """Return a browser that finds the public name at the address of the proxy."""
    context = ssl.create_default_context(cafile=str(proxy.certificate))
    made = httpx.Client(verify=context, base_url=f"https://{proxy.https}", headers={"Host": NAME}, timeout=60)
    made.event_hooks["request"].append(lambda request: request.extensions.update(sni_hostname=NAME))
    return made


FORGED = {"X-Remote-User": "root", "X-Remote-Groups": "hpc-admins"}


def test_whom_the_proxy_has_logged_in_is_logged_in(kind: str, server: Server, folder: Path) -> None:
    with running_proxy(kind, folder / "proxy", server.port, password=PASSWORD) as proxy, client(proxy) as browser:
        assert browser.get(PAGE, headers=FORGED).status_code == 401
        page = browser.get(PAGE, auth=("ada", PASSWORD), headers=FORGED)
    assert page.status_code == 200
    assert "Tokens of ada" in page.text
    assert server.query("SELECT username FROM accounts_user WHERE username IN ('root', 'ada')") == [("ada",)]
    roles = server.query(
        "SELECT role FROM accounts_userrole JOIN accounts_user u ON u.id = user_id WHERE username = 'ada'"
    )
    assert sorted(role for (role,) in roles) == ["support", "user"]


def test_without_a_log_in_there_the_proxy_passes_no_name_on(kind: str, server: Server) -> None:
    with running_proxy(kind, server.folder / f"plain-{kind}", server.port) as proxy, client(proxy) as browser:
        assert browser.get(PAGE, headers=FORGED).headers["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("kind", LOG_IN)
def test_the_documentation_has_what_is_tried_here(kind: str) -> None:
    page = re.sub(r"\s+", " ", (PROJECT / "docs" / "security.md").read_text())
    for line in LOG_IN[kind][1].splitlines():
        told = (
            line.strip().replace("{{", "{").replace("}}", "}").replace("{folder}/passwords", "/etc/ccbackend/passwords")
        )
        if "Groups" not in told:
            assert told in page, told
