"""Static files as a browser gets them from gunicorn, without `collectstatic` and after it."""

import contextlib
import gzip
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import files
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders

from tests.support.clients import Answer
from tests.support.paths import PROJECT
from tests.support.server import Server, running_server

YEAR = 365 * 86_400  # seconds
PAGES = ("/", "/admin/login/", "/api/docs/")


@pytest.fixture(scope="module", params=["as installed", "collected"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server of one process, with files collected or not."""
    folder = tmp_path_factory.mktemp("static")
    options = {"STATIC_ROOT": str(folder / "collected")}
    with running_server(folder, workers=1, settings=options) as running:
        if request.param == "collected":
            assert "static files copied" in running.manage("collectstatic", "--no-input").stdout
            running.kill_web()
            running.start_web()
        yield running


def get(server: Server, path: str, **headers: str) -> Answer:
    """Get a path without a token."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with contextlib.closing(server.client(None)) as client:
        return client.get(path, headers=named)


def addresses(server: Server) -> list[str]:
    """Return the static files that the pages name, and BokehJS beside them."""
    found = {
        address for page in PAGES for address in re.findall(r'(?:src|href)="(/static/[^"]+)"', get(server, page).text)
    }
    one = next(address for address in found if "/jobs/" in address)
    return [*sorted(found), f"{one.partition('/jobs/')[0]}/bokeh/bokeh.min.js"]


@pytest.mark.server
def test_each_file_is_compressed_and_kept_by_the_browser(server: Server) -> None:
    found = addresses(server)
    assert len(found) > 8, found
    for address in found:
        answer = get(server, address, Accept_Encoding="gzip, deflate, br")
        assert answer.status == 200, address
        assert re.match(r"/static/[0-9a-f]{12}/", address)
        control = answer.headers["cache-control"]
        assert "immutable" in control
        assert int(control.partition("max-age=")[2].partition(",")[0]) >= YEAR
        if re.search(r"\.(js|css|svg)$", address):
            assert answer.headers["content-encoding"] == "gzip", address
            assert answer.headers["vary"] == "Accept-Encoding"
            assert int(answer.headers["content-length"]) == len(answer.body)
            assert gzip.decompress(answer.body) == get(server, address).body


@pytest.mark.server
def test_bokeh_is_a_third_of_its_size(server: Server) -> None:
    address = addresses(server)[-1]
    plain = get(server, address)
    assert "content-encoding" not in plain.headers
    assert len(get(server, address, Accept_Encoding="gzip").body) < len(plain.body) / 3
    assert get(server, address, If_None_Match=plain.headers["etag"]).status == 304
    part = get(server, address, Accept_Encoding="gzip", Range="bytes=0-9")
    assert (part.status, part.body) == (206, plain.body[:10])


@pytest.mark.server
def test_the_collected_files_are_for_a_proxy(server: Server) -> None:
    """What lies in STATIC_ROOT has the addresses' folders, and a compressed file beside each."""
    root = server.folder / "collected"
    if not root.exists():
        assert "static files copied" in server.manage("collectstatic", "--no-input").stdout
    for address in addresses(server):
        path = root / address.removeprefix("/static/")
        assert path.read_bytes() == get(server, address).body
        if path.suffix in {".js", ".css"}:
            assert gzip.decompress(path.with_name(f"{path.name}.gz").read_bytes()) == path.read_bytes()


def test_of_bokeh_only_the_two_files_that_pages_use_are_found() -> None:
    listed = [
        name for finder in finders.get_finders() for name, store in finder.list(None) if "bokeh" in store.location
    ]
    assert sorted(listed) == ["bokeh-api.min.js", "bokeh.min.js"]
    assert finders.find("bokeh/bokeh.min.js")
    assert len(finders.find("bokeh/bokeh.min.js", find_all=True)) == 1
    assert not finders.find("bokeh/bokeh-gl.min.js")


def test_the_hash_of_the_release_covers_every_file() -> None:
    """A file from elsewhere would stay in browsers after an update."""
    ours = {PROJECT / app / "static" for app in ("accounts", "jobs")}
    packaged = {
        Path(str(file.locate())).resolve()
        for package in settings.STATIC_PACKAGES
        for file in files(package) or ()
        if "static" in file.parts
    }
    for finder in finders.get_finders():
        for name, storage in finder.list(None):
            path = Path(storage.path(name)).resolve()
            assert path in packaged or ours & set(path.parents), path


def test_with_debug_nothing_is_kept() -> None:
    script = (
        "import django; django.setup();"
        "from django.test import Client; from django.templatetags.static import static;"
        "answer = Client().get(static('jobs/admin.css'));"
        "print(static('jobs/admin.css'), answer.status_code, answer['Cache-Control'])"
    )
    environment = os.environ | {
        "DEBUG": "true",
        "SECRET_KEY": "for-a-test",
        "DATABASE_URL": "sqlite:///:memory:",
        "DJANGO_SETTINGS_MODULE": "ccbackend.settings",
        "ALLOWED_HOSTS": "testserver",
    }
    printed = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert printed.split(maxsplit=2) == ["/static/jobs/admin.css", "200", "max-age=0, public\n"]
