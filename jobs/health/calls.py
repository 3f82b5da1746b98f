"""The health of what clients ask: their calls of the API, and log-ins of the admin site, are not refused."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from accounts.formatting import quantity
from accounts.models import ApiToken
from jobs.health.counting import KEPT, LOG_IN, OTHERS
from jobs.health.look import CountedCalls, Look
from jobs.health.report import Finding, State, span
from jobs.states import CallOutcome

NAME = "API calls"
LOG_INS = "log-ins"

FEW = 3
"""Refused calls of a source and operation that are no finding: somebody may have mistyped something."""

LONG = 3600
"""Seconds of nothing but refused calls after which that is an error."""

MANY_LOG_INS = 10
"""Refused log-ins from an address, in a day, that are a finding."""

_SHARE = 0.1  # of the calls of a source and operation that may be refused, if others are not
_RECENT = 3600  # seconds
_MOST_NAMED, _MOST_REASONS = 10, 3

_CURES = {
    "401": "Give the client a valid token: `manage.py list_tokens` shows them, `create_token` makes one.",
    "403": "See the token's networks and the roles of its user in the admin site, or stop the client.",
    "404": "Correct the address or the id that the client calls.",
}
_CURE = "Correct what the client sends, or what the reason names; the server's log has a line for each of these calls."
REPLAY = "Then replay the calls on the page Refused calls, or dismiss them."
"""What to do with calls that are kept."""

_OF_SERVER = "See the other findings and the server's log; clients have to send these calls again."


@dataclass(slots=True)
class _Calls:
    """The calls of a source to an operation, by outcome; times are epoch seconds, 0 for never."""

    source: str
    operation: str
    by_outcome: dict[str, int] = field(default_factory=dict)
    last_good: int = 0
    bad: list[CountedCalls] = field(default_factory=list)
    refused: int = 0

    def add(self, row: CountedCalls) -> None:
        self.by_outcome[row.outcome] = self.by_outcome.get(row.outcome, 0) + row.calls
        if row.outcome in (CallOutcome.OK, CallOutcome.REPEAT):
            self.last_good = max(self.last_good, row.last_at)
        else:
            self.bad.append(row)
            self.refused += row.calls

    @property
    def last_bad(self) -> CountedCalls:
        """Return the row with the last refused call."""
        return max(self.bad, key=lambda row: row.last_at)

    @property
    def since(self) -> int:
        """Return when calls began to be refused, after the last one that was not."""
        return max(self.last_good, min(row.first_at for row in self.bad if row.last_at >= self.last_good))

    def state(self, now: int) -> State:
        if self.refused < FEW:
            return State.OK
        if self.last_bad.last_at > self.last_good:
            return State.ERROR if self.last_bad.last_at - self.since > LONG else State.WARNING
        is_recent = now - self.last_bad.last_at < _RECENT
        return State.WARNING if is_recent and self.refused > _SHARE * sum(self.by_outcome.values()) else State.OK


def check(look: Look) -> Iterator[Finding]:
    """Yield the callers whose calls are refused, and how many calls each has made in the last day."""
    found = _by_caller(look)
    names = _names({calls.source for calls in found})
    bad = _bad(found, look.now)
    kept = {each for refused in look.refusals for each in refused.counted_as}
    for calls in bad[:_MOST_NAMED]:
        is_kept = (calls.source, calls.operation) in kept
        yield _of_refused(calls, names[calls.source], look.now, is_kept=is_kept)
    if len(bad) > _MOST_NAMED:
        sentence = f"{len(bad) - _MOST_NAMED} other callers are refused too."
        yield Finding(NAME, State.WARNING, sentence, "Mend those above first.")
    yield Finding(NAME, State.OK, _summary(found, names))


def named(look: Look) -> set[tuple[str, str]]:
    """Return the sources and operations that `check` names as refused."""
    return {(calls.source, calls.operation) for calls in _bad(_by_caller(look), look.now)[:_MOST_NAMED]}


def _by_caller(look: Look) -> list[_Calls]:
    found: dict[tuple[str, str], _Calls] = {}
    for row in (row for row in look.calls if row.operation != LOG_IN):
        key = (row.source, row.operation)
        found.setdefault(key, _Calls(*key)).add(row)
    return list(found.values())


def _bad(found: Iterable[_Calls], now: int) -> list[_Calls]:
    """Return the callers whose calls are refused, the worst and latest first."""
    bad = [calls for calls in found if calls.state(now) != State.OK]
    return sorted(bad, key=lambda calls: (-calls.state(now), -calls.last_bad.last_at))


def check_log_ins(look: Look) -> Iterator[Finding]:
    """Yield the addresses from which many log-ins were refused."""
    rows = sorted((row for row in look.calls if row.operation == LOG_IN), key=lambda row: row.last_at)
    by_address: dict[str, list[CountedCalls]] = {}
    for row in rows:
        by_address.setdefault(row.source, []).append(row)
    many = {address: each for address, each in by_address.items() if _sum(each) >= MANY_LOG_INS}
    for address, each in sorted(many.items(), key=lambda item: -_sum(item[1]))[:_MOST_NAMED]:
        sentence = (
            f"{_sum(each):,} log-ins from {address} were refused in the last {KEPT} h, the last one "
            f"{span(look.now - each[-1].last_at)} ago: {each[-1].message}."
        )
        cure = "Does somebody guess passwords? The log has a line for each; keep the address away from the server."
        yield Finding(LOG_INS, State.WARNING, sentence, cure, min(row.first_at for row in each))
    if not many:
        yield Finding(LOG_INS, State.OK, f"{quantity(_sum(rows), 'log-in')} refused in the last {KEPT} h.")


def _sum(rows: Iterable[CountedCalls]) -> int:
    return sum(row.calls for row in rows)


def _names(sources: set[str]) -> dict[str, str]:
    """Return the words for each source: a token with its name and user, an address."""
    tokens = ApiToken.objects.filter(prefix__in=sources).select_related("user")
    known = {token.prefix: f"the token {token} of {token.user.username}" for token in tokens}
    return {source: known.get(source) or _of_unknown(source) for source in sources}


def _of_unknown(source: str) -> str:
    if source.startswith("ccb_"):
        return f"the unknown token {source}…"
    return source if source.startswith("user ") or source == OTHERS else f"address {source}"


def _of_refused(calls: _Calls, name: str, now: int, *, is_kept: bool) -> Finding:
    last, state = calls.last_bad, calls.state(now)
    goes_on = last.last_at > calls.last_good
    some = f"{calls.refused:,} of {quantity(sum(calls.by_outcome.values()), 'call')} of {calls.operation} by {name}"
    ended = "all of them since the last that was not" if calls.last_good and goes_on else ""
    sentence = (
        f"{some} were refused in the last {KEPT} h{f', {ended}' if ended else ''}; the last one "
        f"{span(now - last.last_at)} ago from {last.address}: {last.reason.partition(' ')[0]} {last.message}"
    )
    cure = _OF_SERVER if last.outcome == CallOutcome.FAILED else _CURES.get(last.reason[:3], _CURE)
    cure = f"{cure} {REPLAY}" if is_kept else cure
    return Finding(NAME, state, sentence, cure, calls.since if goes_on else None)


def _summary(found: Iterable[_Calls], names: dict[str, str]) -> str:
    """Return how many calls each source has made, by outcome and reason, the most active first."""
    by_source: dict[str, dict[str, int]] = {}
    for calls in found:
        numbers = by_source.setdefault(calls.source, {})
        for outcome in (CallOutcome.OK, CallOutcome.REPEAT):
            numbers[outcome.value] = numbers.get(outcome.value, 0) + calls.by_outcome.get(outcome, 0)
        for row in calls.bad:
            numbers[row.reason] = numbers.get(row.reason, 0) + row.calls
    if not by_source:
        return f"No call in the last {KEPT} h."
    most = sorted(by_source.items(), key=lambda item: -sum(item[1].values()))[:_MOST_NAMED]
    parts = [f"{names[source]}: {_shares(numbers)}" for source, numbers in most]
    others = len(by_source) - len(parts)
    return f"Last {KEPT} h: {'; '.join(parts)}" + (f"; and {others} others" if others else "") + "."


def _shares(numbers: dict[str, int]) -> str:
    """Return how many calls were carried out, repeated, and refused, with the reasons of most."""
    words = {CallOutcome.OK.value: "carried out", CallOutcome.REPEAT.value: "repeated"}
    parts = [f"{numbers[outcome]:,} {word}" for outcome, word in words.items() if numbers[outcome]]
    refused = sorted(((number, reason) for reason, number in numbers.items() if reason not in words), reverse=True)
    parts += [f"{number:,} refused ({reason})" for number, reason in refused[:_MOST_REASONS]]
    others = sum(number for number, _ in refused[_MOST_REASONS:])
    return ", ".join(parts + ([f"{others:,} refused for other reasons"] if others else []))
