"""Rows for tests: users, tokens, jobs, tags."""

import json
from typing import Any

import factory
from factory.django import DjangoModelFactory

from accounts.models import ApiToken, User
from jobs.models import Job, JobTag, Tag
from jobs.states import JobState, MonitoringStatus

START = 1_700_000_000  # 2023-11-14T22:13:20Z

STATISTICS = {"cpu_load": {"unit": {"base": ""}, "avg": 3.5, "min": 1.0, "max": 4.0}}

STATES: dict[str, dict[str, Any]] = {
    "finished": {"job_state": JobState.COMPLETED, "duration": 600},
    "archived": {
        "job_state": JobState.COMPLETED,
        "duration": 600,
        "monitoring_status": MonitoringStatus.ARCHIVED,
        "statistics": json.dumps(STATISTICS, separators=(",", ":")),
    },
}


class UserFactory(DjangoModelFactory[User]):
    """A user; `roles` and `projects` are lists of names."""

    class Meta:
        model = User
        skip_postgeneration_save = True

    username = factory.Sequence(lambda number: f"user{number}")
    name = factory.LazyAttribute(lambda user: user.username.title())
    email = factory.LazyAttribute(lambda user: f"{user.username}@example.org")

    @factory.post_generation
    def roles(self: User, create: bool, extracted: Any, **kwargs: Any) -> None:  # type: ignore[misc]
        """Give roles; user where none are named."""
        if create:
            self.add_roles(["user"] if extracted is None else extracted)

    @factory.post_generation
    def projects(self: User, create: bool, extracted: Any, **kwargs: Any) -> None:  # type: ignore[misc]
        """Give projects to manage."""
        if create and extracted:
            self.add_projects(extracted)


def on_hosts(*names: str) -> str:
    """Return the resources of a job on these hosts."""
    return json.dumps([{"hostname": name} for name in names], separators=(",", ":"))


def token_for(user: User, **options: Any) -> str:
    """Issue a token and return its secret; options are those of ApiToken.issue."""
    return ApiToken.issue(user=user, **options)[1]


class TagFactory(DjangoModelFactory[Tag]):
    """A tag."""

    class Meta:
        model = Tag

    type = "class"
    name = factory.Sequence(lambda number: f"tag{number}")


class JobFactory(DjangoModelFactory[Job]):
    """A running job; with `finished` one that waits for the archive, with `archived` one in the database, no files."""

    class Meta:
        model = Job
        skip_postgeneration_save = True

    job_id = factory.Sequence(lambda number: 5000 + number)
    cluster = "testcluster"
    sub_cluster = "main"
    partition = "work"
    user = "alice"
    project = "bio"
    num_nodes = 1
    start_time = factory.Sequence(lambda number: START + number)
    walltime = 3600
    resources = '[{"hostname":"n01"}]'
    meta_data = '{"jobName":"a job"}'

    @classmethod
    def _adjust_kwargs(cls, **kwargs: Any) -> dict[str, Any]:
        """Replace the names of states by their values; traits of the library would double the time of each job."""
        for name, values in STATES.items():
            if kwargs.pop(name, False):
                kwargs = values | kwargs
        return kwargs

    @factory.post_generation
    def tags(self: Job, create: bool, extracted: Any, **kwargs: Any) -> None:  # type: ignore[misc]
        """Put tags on the job."""
        if create and extracted:
            JobTag.objects.bulk_create([JobTag(job=self, tag=tag) for tag in extracted])
