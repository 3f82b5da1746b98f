"""What tests of bulk changes share."""

import pytest

from jobs.bulk import changing, selecting


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a part have two jobs, a statement read three, and a step be one of either."""
    monkeypatch.setattr(selecting, "BATCH", 2)
    monkeypatch.setattr(selecting, "_READ", 3)
    monkeypatch.setattr(selecting, "STEP", 0.0)
    monkeypatch.setattr(changing, "STEP", 0.0)
