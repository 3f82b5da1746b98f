"""Jobs that have ended and are booked: their nodes and footprints are written down."""

from typing import Any

import msgspec

from jobs.models import Job
from jobs.records import FootprintMetric, JobFootprint, JobNode, Node
from tests.support.factories import JobFactory


def book(job: Job, **figures: Any) -> Job:
    """Write down nodes and footprint of an ended job; `figures` are columns of its footprint."""
    for resource in msgspec.json.decode(job.resources):
        node, _ = Node.objects.get_or_create(cluster=job.cluster, hostname=resource["hostname"])
        times = {"start_time": job.start_time, "end_time": job.start_time + job.duration}
        JobNode.objects.create(node=node, job=job, **times)
    row = {"start_time": job.start_time, "duration": job.duration, "num_nodes": job.num_nodes, "cores": 4}
    JobFootprint.objects.create(job=job, **{**row, "accelerators": 0, "waiting": 0, "power": 0, **figures})
    Job.objects.filter(pk=job.pk).update(is_booked=True)
    return job


def booked_job(figures: dict[str, Any] | None = None, **values: Any) -> Job:
    """Create an ended and booked job."""
    return book(JobFactory.create(archived=True, **values), **(figures or {}))


def give_slots(*names: str) -> None:
    """Give metrics the first slots."""
    FootprintMetric.objects.bulk_create([FootprintMetric(slot=slot, name=name) for slot, name in enumerate(names, 1)])
