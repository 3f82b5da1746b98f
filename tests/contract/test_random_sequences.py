"""Random sequences of starts, stops, tags, edits, deletions, archiving and retention, against a simple model."""

from pathlib import Path

import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test

from accounts.models import User
from jobs.history import Actor
from tests.support.clients import AppClient
from tests.support.job_model import JobModel, machine_of
from tests.support.random_input import examples


@pytest.mark.usefixtures("cluster", "synthetic")
def test_random_sequences_leave_what_a_simple_model_has(admin_api: AppClient, admin: User, archive_root: Path) -> None:
    machine = machine_of(lambda: JobModel(admin_api, Actor(admin.pk), archive_root))
    run_state_machine_as_test(machine, settings=hypothesis.settings(examples(8), stateful_step_count=15))
