"""Archives and jobs in them that tests of the archive share."""

import json
from pathlib import Path

import pytest

from archive.storage.store import ArchiveStore
from tests.conftest import TEST_CLUSTER
from tests.support.checked_jobs import add_job


@pytest.fixture
def store(tmp_path: Path) -> ArchiveStore:
    """Return a fresh archive."""
    store = ArchiveStore(tmp_path / "archive")
    store.prepare()
    return store


@pytest.fixture
def configured(store: ArchiveStore) -> None:
    """Configure testcluster in the archive."""
    store.write_cluster("testcluster", json.dumps(TEST_CLUSTER).encode())


@pytest.fixture
def folder(store: ArchiveStore, configured: None) -> Path:
    """Return the folder of an intact job of testcluster."""
    return add_job(store)
