"""The cast of people, the archive, the clients and the database that tests share."""

import gc
import importlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import override_settings

from accounts import bad_tokens, credentials
from accounts.models import User
from archive.clusters import registry_for
from ccbackend.fastpath import counts
from jobs.health import counting
from tests.support.browser import browser
from tests.support.clients import AppClient
from tests.support.factories import JobFactory, UserFactory, token_for
from tests.support.paths import DATA
from tests.support.server import Server, running_server

# Processes that tests start from a fork server read the settings anew, without pytest: what a test sets never reaches
# them, and what they write without being told where must not end up in, or pass because of, an archive of this folder.
os.environ.setdefault("SECRET_KEY", "of the tests")
os.environ["ARCHIVE_ROOT"] = "/nonexistent/job-archive"

__all__ = ["browser"]

TEST_CLUSTER: dict[str, Any] = {
    "name": "testcluster",
    "metricConfig": [
        {
            "name": "cpu_load",
            "unit": {"base": ""},
            "scope": "node",
            "aggregation": "avg",
            "timestep": 60,
            "peak": 4,
            "normal": 4,
            "caution": 2,
            "alert": 1,
        },
        {
            "name": "flops_any",
            "unit": {"base": "F/s", "prefix": "G"},
            "scope": "hwthread",
            "aggregation": "sum",
            "timestep": 60,
            "peak": 100,
            "normal": 50,
            "caution": 10,
            "alert": 5,
            "subClusters": [{"name": "gpu", "peak": 0, "normal": 0, "caution": 0, "alert": 0, "remove": True}],
        },
    ],
    "subClusters": [
        {
            "name": name,
            "nodes": nodes,
            "processorType": "X",
            "socketsPerNode": 1,
            "coresPerSocket": 4,
            "threadsPerCore": 1,
            "flopRateScalar": {"unit": {"base": "F/s", "prefix": "G"}, "value": 14},
            "flopRateSimd": {"unit": {"base": "F/s", "prefix": "G"}, "value": 112},
            "memoryBandwidth": {"unit": {"base": "B/s", "prefix": "G"}, "value": 24},
            "topology": {
                "node": [0, 1, 2, 3],
                "socket": [[0, 1, 2, 3]],
                "memoryDomain": [[0, 1, 2, 3]],
                "core": [[0], [1], [2], [3]],
            },
        }
        for name, nodes in (("main", "n[01-40]"), ("gpu", "g[01-04]"))
    ],
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests in Chromium last: Playwright's event loop, which runs from then on, would disturb the others."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Let the search for reference cycles pass over what lives as long as the run: modules and collected tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Give SQLite a file: threads and processes share it, as in production; PostgreSQL a name per xdist worker."""
    config = django_settings.DATABASES["default"]
    if "sqlite" in config["ENGINE"]:
        config.setdefault("TEST", {})["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")


@pytest.fixture(scope="session", autouse=True)
def _fork_server() -> None:
    """Start the server of processes with all that any test needs; the first command would load only its own part."""
    multiprocessing.set_forkserver_preload(["jobs.maintenance.preload", "jobs.archiving.preload", "archive.check.walk"])
    forkserver.ensure_running()


@pytest.fixture(scope="session", autouse=True)
def _test_settings() -> Iterator[None]:
    """Replace two parts of the application by quick ones, and the archive of this folder by none.

    The parts are the hash of passwords and the search for static files. Counts of calls are stored when a test says so.
    """
    counts.counts_by_itself = False
    with override_settings(
        ARCHIVE_ROOT=Path(os.environ["ARCHIVE_ROOT"]),
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        WHITENOISE_AUTOREFRESH=True,  # looks a file up when it is asked for, not all of them for each new Client()
    ):
        yield


@pytest.fixture(autouse=True)
def _fresh_start() -> Iterator[None]:
    """Forget tokens and counts of calls, which outlive the rows of a test, and count jobs from 0 in each test."""
    credentials.clear_cache()
    bad_tokens.forget()
    counts.recent.clear()
    counting.forget()
    JobFactory.reset_sequence(0, force=True)  # type: ignore[no-untyped-call]
    yield
    credentials.clear_cache()


@pytest.fixture
def alice(db: None) -> User:
    """Return a user with jobs of her own."""
    return UserFactory.create(username="alice", roles=["user"])


@pytest.fixture
def bob(db: None) -> User:
    """Return the manager of project bio."""
    return UserFactory.create(username="bob", roles=["manager"], projects=["bio"])


@pytest.fixture
def carol(db: None) -> User:
    """Return a member of the support staff."""
    return UserFactory.create(username="carol", roles=["support"])


@pytest.fixture
def admin(db: None) -> User:
    """Return an administrator who may call the API too."""
    return UserFactory.create(username="admin", roles=["admin", "api"])


@pytest.fixture
def bench(db: None) -> User:
    """Return the account of a scheduler's hooks."""
    return UserFactory.create(username="bench", roles=["api"])


@pytest.fixture
def archive_root(tmp_path: Path, settings: Any) -> Path:
    """Return an empty archive, which no cluster is configured in, that ARCHIVE_ROOT names."""
    root = tmp_path / "job-archive"
    root.mkdir()
    (root / "version.txt").write_text("1\n")
    registry_for(root).check_interval = 0.0  # a cluster that a test adds is seen at once
    settings.ARCHIVE_ROOT = root
    settings.METRIC_SOURCES = {"*": {"kind": "none"}}
    return root


@pytest.fixture
def add_cluster(archive_root: Path) -> Callable[[str], Path]:
    """Return a function that puts a cluster into the archive: testcluster, or one of tests/data."""

    def add(name: str) -> Path:
        path = archive_root / name / "cluster.json"
        path.parent.mkdir(exist_ok=True)
        if name == "testcluster":
            path.write_text(json.dumps(TEST_CLUSTER))
        else:
            shutil.copyfile(DATA / f"cluster-{name}.json", path)
        registry_for(archive_root).names()  # while one thread reads a new file, others would go on without it
        return path

    return add


@pytest.fixture
def cluster(add_cluster: Callable[[str], Path]) -> Path:
    """Put testcluster into the archive, with subclusters main (n01 to n40) and gpu (g01 to g04)."""
    return add_cluster("testcluster")


@pytest.fixture
def adopted_passwords(settings: Any) -> None:
    """Accept passwords that cc-backend hashed, beside the quick ones of tests."""
    settings.PASSWORD_HASHERS = [*settings.PASSWORD_HASHERS, "accounts.hashers.AdoptedPassword"]


@pytest.fixture
def synthetic(settings: Any, archive_root: Path) -> None:
    """Draw samples for every cluster."""
    settings.METRIC_SOURCES = {"*": {"kind": "synthetic"}}


@pytest.fixture
def anonymous(db: None, archive_root: Path) -> AppClient:
    """Return a client without a token that calls the application of production."""
    # Imported here: the module looks at archive and database when it is loaded, as a starting server does.
    return AppClient(importlib.import_module("ccbackend.wsgi").application)


@pytest.fixture
def api(anonymous: AppClient, bench: User) -> AppClient:
    """Return a client with a token of role api."""
    return anonymous.as_(token_for(bench))


@pytest.fixture
def admin_api(anonymous: AppClient, admin: User) -> AppClient:
    """Return a client with a token of roles admin and api."""
    return anonymous.as_(token_for(admin))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Return a server as in production with two workers."""
    with running_server(tmp_path / "server") as running:
        yield running
