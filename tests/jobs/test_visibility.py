"""Who sees which job: JobQuerySet.visible_to, the one place that decides."""

import pytest
from django.contrib.auth.models import AnonymousUser

from accounts.models import User
from jobs.models import Job
from tests.support.factories import JobFactory, UserFactory


@pytest.fixture
def jobs(db: None) -> dict[str, Job]:
    """Return jobs of alice and bob in and outside project bio."""
    return {
        f"{user} {project}": JobFactory.create(user=user, project=project)
        for user, project in (("alice", "bio"), ("alice", "chem"), ("bob", "chem"), ("zoe", "bio"), ("zoe", "chem"))
    }


def seen_by(user: object) -> set[str]:
    """Return user and project of the jobs that a user sees."""
    return {f"{job.user} {job.project}" for job in Job.objects.visible_to(user)}


def test_a_user_sees_own_jobs_alone(jobs: dict[str, Job], alice: User) -> None:
    assert seen_by(alice) == {"alice bio", "alice chem"}


def test_a_manager_sees_the_jobs_of_managed_projects_and_own_jobs(jobs: dict[str, Job], bob: User) -> None:
    assert seen_by(bob) == {"alice bio", "zoe bio", "bob chem"}


@pytest.mark.parametrize("roles", [["support"], ["admin"], ["api"], ["user", "support"], ["manager", "admin"]])
def test_support_admin_and_api_see_all(jobs: dict[str, Job], roles: list[str]) -> None:
    assert seen_by(UserFactory.create(roles=roles)) == set(jobs)


def test_projects_count_for_managers_only(jobs: dict[str, Job]) -> None:
    user = UserFactory.create(username="alice", roles=["user"], projects=["chem"])
    assert seen_by(user) == {"alice bio", "alice chem"}


def test_nobody_sees_anything_without_a_role_an_active_account_or_a_log_in(jobs: dict[str, Job], carol: User) -> None:
    assert seen_by(UserFactory.create(username="alice", roles=[])) == set()
    assert seen_by(AnonymousUser()) == set()
    assert seen_by(None) == set()
    assert seen_by(carol) == set(jobs)
    carol.is_active = False
    assert seen_by(carol) == set()


def test_an_empty_project_is_nobody_s(db: None, bob: User) -> None:
    JobFactory.create(user="zoe", project="")
    assert seen_by(bob) == set()
