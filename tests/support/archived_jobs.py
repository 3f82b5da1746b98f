"""Jobs that the worker has archived, and what check_archive says of them."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from archive.format.layout import job_folder
from jobs.archiving.worker import ArchiveWorker
from jobs.models import Job
from tests.support.commands import Outcome
from tests.support.factories import JobFactory, TagFactory


@pytest.fixture
def job(db: None) -> Job:
    """Return an archived job with samples and a tag."""
    return archived()


def archived(**values: Any) -> Job:
    """Archive a job, as the worker does."""
    job = JobFactory.create(finished=True, tags=[TagFactory.create()], **values)
    ArchiveWorker().drain()
    job.refresh_from_db()
    assert job.is_archived
    return job


def folder_of(job: Job, archive_root: Path) -> Path:
    """Return the folder of a job."""
    return job_folder(archive_root, job.key)


def edit(path: Path, **values: Any) -> None:
    """Change keys of a meta.json."""
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | values))


def found(outcome: Outcome) -> list[str]:
    """Return the kinds of findings in the lines on stdout."""
    return [line.split()[1] for line in outcome.lines[:-1]]
