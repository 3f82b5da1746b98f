"""Bulk changes, step by step, for tests."""

from accounts.models import User
from jobs.bulk.changing import confirm, go_on
from jobs.bulk.selecting import begin_selection, select_more
from jobs.history import Actor
from jobs.models import Job
from jobs.querysets import seen_by
from jobs.records import BulkChange
from jobs.search.box import narrow
from jobs.search.criteria import Criteria
from jobs.search.find import Search
from jobs.states import BulkKind, BulkState


def search(text: str = "", user: User | None = None) -> Search:
    """Return a search of the box."""
    seen = None if user is None else seen_by(user)
    criteria = Criteria()
    narrow(criteria, text, seen)
    return Search(seen=seen, criteria=criteria)


def selected(user: User, kind: BulkKind = BulkKind.CORRECT, text: str = "") -> BulkChange:
    """Return a change of the jobs of a search."""
    change = begin_selection(kind=kind, actor=Actor(user.pk), query="", conditions="")
    while change.state == BulkState.SELECTING:
        change = select_more(change, search(text, user))
    return change


def begun(user: User, kind: BulkKind = BulkKind.CORRECT, text: str = "", **wanted: str) -> BulkChange:
    """Return a change that was confirmed."""
    return confirm(change=selected(user, kind, text), wanted=wanted, note="ticket 4711", actor=Actor(user.pk))


def finished(change: BulkChange, user: User) -> BulkChange:
    """Make all steps of a change."""
    while change.goes_on:
        change = go_on(change_id=change.pk, user=user)
    return change


def done(user: User, kind: BulkKind = BulkKind.CORRECT, text: str = "", **wanted: str) -> BulkChange:
    """Make a whole change."""
    return finished(begun(user, kind, text, **wanted), user)


def projects() -> list[tuple[str, str]]:
    """Return project and partition of all jobs, the oldest first."""
    return list(Job.objects.order_by("start_time", "pk").values_list("project", "partition"))
