"""The health of what schedulers send: starts and stops come, nothing is refused, nodes are reported."""

from collections.abc import Iterator, Sequence

from django.db.models import Count, Max, Q

from accounts.formatting import quantity
from jobs.health import calls
from jobs.health.look import DAYS, MOST_REFUSED, Events, Look
from jobs.health.report import Finding, State, span
from jobs.models import NodeState

QUIET = "events"
REFUSED = "refused calls"
NODES = "node reports"

# A cluster is quiet if its last event is longer ago than QUIET_AT_LEAST seconds and than QUIET_PAUSES times the average
# interval between events of the last days. With fewer than QUIET_EVENTS, there is no meaningful average.
QUIET_PAUSES = 10
QUIET_AT_LEAST = 3600
QUIET_EVENTS = 10

STALE = 300
"""Seconds after which the report of a node is too old: adapters report each minute."""

_FORGOTTEN = 86_400  # seconds after which a node that is not reported any more counts as removed

_MOST_FINDINGS = 5  # about refused calls

REACHED = "Do the scheduler's hooks or its adapter still run, and reach this server? See their log, and this server's."


def is_quiet(*, last_event: int | None, events: int, span: int, now: int) -> bool:
    """Return whether a cluster with `events` in the last `span` seconds is quiet (see QUIET_PAUSES)."""
    if last_event is None or events < QUIET_EVENTS:
        return False
    return now - last_event > max(QUIET_AT_LEAST, QUIET_PAUSES * span / events)


def check_quiet(look: Look) -> Iterator[Finding]:
    """Yield the clusters whose starts, stops or both have ceased."""
    is_good = True
    now = look.now
    for events in look.events:
        no_start = is_quiet(last_event=events.last_start, events=events.starts, span=events.span, now=now)
        no_stop = is_quiet(last_event=events.last_stop, events=events.stops, span=events.span, now=now)
        if not no_start and not (no_stop and events.running):
            continue
        is_good = False
        words = [word for word, missing in (("start", no_start), ("stop", no_stop)) if missing]
        times = (when for when, missing in ((events.last_start, no_start), (events.last_stop, no_stop)) if missing)
        since = max((when for when in times if when is not None), default=now)
        sentence = f"Cluster {events.cluster}: no {' and no '.join(words)} for {span(now - since)}."
        yield Finding(QUIET, State.WARNING, sentence, REACHED, since)
    if is_good:
        yield Finding(QUIET, State.OK, _of_last(look.events, now))


def check_refused(look: Look) -> Iterator[Finding]:
    """Yield the operations and senders of which calls were refused in the last day, and nobody has handled them.

    Those that "API calls" names are not named twice.
    """
    is_more = sum(refused.calls for refused in look.refusals) == MOST_REFUSED
    named = calls.named(look)
    found = [refused for refused in look.refusals if not refused.counted_as & named]
    for refused in found[:_MOST_FINDINGS]:
        count = f"{'at least ' if is_more else ''}{quantity(refused.calls, 'call')} of {refused.operation}"
        sentence = (
            f"{refused.sender}: {count} {'was' if refused.calls == 1 else 'were'} refused in the last 24 h, "
            f"the last one {span(look.now - refused.last_at)} ago: {refused.reason[:300]}"
        )
        cure = f"Correct the client or cluster.json. {calls.REPLAY}"
        yield Finding(REFUSED, State.WARNING, sentence, cure)
    if not look.refusals:
        yield Finding(REFUSED, State.OK, "No refused call of the last 24 h waits.")
    elif not found:
        yield Finding(REFUSED, State.OK, f"Those that wait are named under {calls.NAME}.")


def check_nodes(look: Look) -> Iterator[Finding]:
    """Yield the clusters with nodes that are not reported any more."""
    now = look.now
    stale = Q(reported_at__lt=now - STALE)
    missing = stale & Q(reported_at__gte=now - _FORGOTTEN)
    rows = NodeState.objects.order_by("cluster").values_list("cluster")
    counts = rows.annotate(
        nodes=Count("pk"),
        old=Count("pk", filter=stale),
        lost=Count("pk", filter=missing),
        last=Max("reported_at"),
    )
    is_good = True
    names = []
    for cluster, nodes, old, lost, last in counts:
        names.append(cluster)
        if old == nodes and now - last < DAYS:
            is_good = False
            sentence = f"Cluster {cluster}: the last report of its nodes came {span(now - last)} ago."
            cure = f"{REACHED} Adapters call nodestate each minute."
            yield Finding(NODES, State.WARNING, sentence, cure, last)
        elif old < nodes and lost:
            is_good = False
            sentence = f"Cluster {cluster}: {lost:,} of {nodes:,} nodes have not been reported for {span(STALE)}."
            cure = "See them on the cluster's page (state stale). A node counts as removed after a day."
            yield Finding(NODES, State.WARNING, sentence, cure)
    if is_good:
        current = f"The nodes of {', '.join(names)} are reported." if names else "No cluster reports its nodes."
        yield Finding(NODES, State.OK, current)


def _of_last(found: Sequence[Events], now: int) -> str:
    """Return a sentence about the last start of each cluster."""
    last = [f"{events.cluster} {span(now - events.last_start)} ago" for events in found if events.last_start]
    return f"Last start: {', '.join(last)}." if last else "No job has started yet."
