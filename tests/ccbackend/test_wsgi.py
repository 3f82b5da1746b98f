"""ccbackend.wsgi: when it refuses to start."""

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from ccbackend.fastpath import get_wsgi_application
from tests.support.factories import JobFactory


@pytest.mark.parametrize("fast", [True, False])
def test_without_the_archive_of_its_jobs_the_server_does_not_start(
    db: None, archive_root: Path, settings: Any, fast: bool
) -> None:
    settings.FAST_PATH = fast
    get_wsgi_application()
    JobFactory.create(archived=True)

    with pytest.raises(ImproperlyConfigured, match="is its file system mounted"):
        get_wsgi_application()
