"""The weekly digest: how many jobs ended, and how badly; the top users; and what the rules have tagged."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db.models import Count, Q, Sum

from accounts.formatting import quantity
from jobs.models import Job, JobTag, Tag
from jobs.overview.usage import Days
from jobs.records import TagRule, Usage
from jobs.states import ENDED_BADLY, JobState

DAY, DAYS = 86_400, 7

_TOP = 10  # users
_HOUR = 3600


@dataclass(frozen=True)
class UserLine:
    """What a user's jobs of the week used (node hours), how many ended, and how many of them badly."""

    user: str
    node_hours: float
    jobs: int
    badly: int


@dataclass(frozen=True)
class TagLine:
    """A tag, the searches of its rules, the number of jobs of the week that have it, and what is wrong with a rule."""

    tag: str
    words: tuple[str, ...]
    jobs: int
    problem: str


@dataclass(frozen=True)
class Digest:
    """What a week was like."""

    days: Days
    jobs: int
    by_state: dict[str, int]
    node_hours: float
    users: list[UserLine]
    tags: list[TagLine]

    @property
    def badly(self) -> int:
        """Return how many jobs ended badly."""
        return sum(self.by_state.get(state, 0) for state in ENDED_BADLY)


def digest(now: int) -> Digest:
    """Return the digest of the last seven whole days (UTC) before a time (epoch seconds)."""
    end = now // DAY
    days = Days(end - DAYS, end)
    usage = Usage.objects.filter(day__gte=days.first, day__lt=days.end).order_by()
    by_state = dict(usage.values_list("job_state").annotate(Sum("jobs")))
    users = usage.values_list("user").annotate(
        seconds=Sum("node_seconds"), ended=Sum("jobs"), badly=Sum("jobs", filter=Q(job_state__in=ENDED_BADLY))
    )
    top = sorted(users, key=lambda row: (-row[1], row[0]))[:_TOP]
    return Digest(
        days=days,
        jobs=sum(by_state.values()),
        by_state=by_state,
        node_hours=(usage.aggregate(all=Sum("node_seconds"))["all"] or 0) / _HOUR,
        users=[UserLine(user, seconds / _HOUR, jobs, badly or 0) for user, seconds, jobs, badly in top],
        tags=list(_tags(days)),
    )


def _tags(days: Days) -> Iterator[TagLine]:
    """Yield the tags of the rules, the most frequent first."""
    by_tag: dict[int, list[TagRule]] = {}
    for rule in TagRule.objects.filter(is_enabled=True).order_by("words"):
        by_tag.setdefault(rule.tag_id, []).append(rule)
    names = {tag.pk: str(tag) for tag in Tag.objects.filter(pk__in=by_tag)}
    started = Job.objects.filter(start_time__gte=days.first * DAY, start_time__lt=days.end * DAY)
    links = JobTag.objects.filter(job__in=started, tag__in=by_tag).order_by()
    numbers = dict(links.values_list("tag").annotate(Count("job")))
    for tag_id in sorted(by_tag, key=lambda tag_id: (-numbers.get(tag_id, 0), names.get(tag_id, ""))):
        rules = by_tag[tag_id]
        problem = next((rule.error for rule in rules if rule.error), "")
        name = names.get(tag_id)
        words = tuple(rule.words for rule in rules)
        yield TagLine(name or "(deleted)", words, numbers.get(tag_id, 0), problem if name else "the tag was deleted")


def text_of(found: Digest) -> str:
    """Return a digest as the text of a mail."""
    node_hours = quantity(found.node_hours, "node hour")
    lines = [
        f"Jobs from {_day(found.days.first)} to {_day(found.days.end - 1)} (UTC)",
        "",
        f"{quantity(found.jobs, 'job')} ended, {found.badly:,} of them badly; {node_hours}.",
    ]
    for state, number in sorted(found.by_state.items(), key=lambda item: -item[1]):
        if number:
            lines.append(f"  {number:>12,}  {JobState(state).label.lower()}")
    if found.users:
        lines += ["", "Top users, by node hours:"]
    for user in found.users:
        lines.append(
            f"  {user.node_hours:>12,.0f}  {user.user}: {quantity(user.jobs, 'job')} ended, {user.badly:,} badly"
        )
    if found.tags:
        lines += ["", "Jobs that started in these days and have the tag of a rule:"]
    for tag in found.tags:
        lines.append(f"  {tag.jobs:>12,}  {tag.tag} ({'; '.join(tag.words)})")
        if tag.problem:
            lines.append(f"{'':16}a rule tags no jobs: {tag.problem}")
    return "\n".join(lines) + "\n"


def _day(number: int) -> str:
    return f"{datetime.fromtimestamp(number * DAY, UTC):%Y-%m-%d}"
