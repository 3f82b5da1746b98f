"""The number of jobs that have a tag, as far as it is worth counting: a tag may be on a million."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.db.models import IntegerField, OuterRef, QuerySet, Subquery

from jobs.models import Job, JobTag, Tag
from jobs.querysets import seen_by

MOST_COUNTED = 10_000

# For a user who sees some jobs only, each job of a tag has to be looked at: no more than this of one tag.
_MOST_LOOKED_AT = 1_000


@dataclass(frozen=True, slots=True)
class JobCount:
    """The number of jobs that have a tag; `capped` if only so many were counted, or looked at, and there are more."""

    jobs: int
    capped: bool = False
    partly_seen: bool = False

    def __str__(self) -> str:
        """Return the number for people."""
        if not self.capped:
            return f"{self.jobs:,}"
        return f"{self.jobs:,} or more" if self.partly_seen else f"more than {self.jobs:,}"


class _CountOf(Subquery):
    """The number of rows of a subquery, which may have a limit."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) counted)"
    output_field = IntegerField()


def job_counts(tag_ids: Collection[int], user: Any) -> dict[int, JobCount]:
    """Return, by tag, the number of jobs with it that a user sees; the work per tag is bounded."""
    tags = Tag.objects.filter(pk__in=tag_ids).order_by()
    if seen_by(user) is None:
        counted = tags.annotate(linked=_CountOf(_links(OuterRef("pk"), MOST_COUNTED + 1)))
        return {
            tag_id: JobCount(min(linked, MOST_COUNTED), capped=linked > MOST_COUNTED)
            for tag_id, linked in counted.values_list("pk", "linked")
        }
    looked_at = _links(OuterRef(OuterRef("pk")), _MOST_LOOKED_AT)
    counted = tags.annotate(
        linked=_CountOf(_links(OuterRef("pk"), _MOST_LOOKED_AT + 1)),
        seen=_CountOf(Job.objects.visible_to(user, by_index=False).filter(pk__in=looked_at).order_by().values("pk")),
    )
    return {
        tag_id: JobCount(seen or 0, capped=linked > _MOST_LOOKED_AT, partly_seen=True)
        for tag_id, linked, seen in counted.values_list("pk", "linked", "seen")
    }


def _links(tag: OuterRef, most: int) -> QuerySet[JobTag, Any]:
    """Return the row ids of the first jobs of a tag."""
    return JobTag.objects.filter(tag=tag).order_by().values("job_id")[:most]
