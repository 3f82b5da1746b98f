"""What a token reaches that its scope, its clusters or the roles of a person limit."""

from typing import Any

import msgspec

from accounts.credentials import Credential
from accounts.models import TokenScope, User
from jobs.api import conditions
from jobs.api.conditions import Filter, equal
from jobs.exceptions import JobNotFoundError, RefusedByTokenError
from jobs.models import Job
from jobs.querysets import seen_by

_RANKS = {"cluster": conditions.CLUSTER, "user": conditions.USER, "project": conditions.PROJECT}


class _Named(msgspec.Struct):
    """A body, decoded only to the cluster."""

    cluster: str | None = None


_decoder = msgspec.json.Decoder(_Named)


def filters_of(token: Credential, user: User) -> list[Filter]:
    """Return the conditions of the jobs that a limited token reaches, for a list."""
    filters = []
    seen = seen_by(user) if token.scope == TokenScope.READ else None
    if seen is not None:
        filters.append(one_of(seen))
    if token.clusters:
        filters.append(one_of([("cluster", name) for name in sorted(token.clusters)]))
    return filters


def check_job(token: Credential, user: User, row_id: int) -> None:
    """Raise JobNotFoundError, as if there were no such job, unless a limited token reaches it."""
    jobs = Job.objects.filter(pk=row_id)
    if token.scope == TokenScope.READ:
        jobs = jobs.visible_to(user, by_index=False)
    if token.clusters:
        jobs = jobs.filter(cluster__in=token.clusters)
    if not jobs.exists():
        raise JobNotFoundError(f"finding job failed: no job with database id {row_id} that this token reaches")


def check_body(clusters: frozenset[str], row_id: int | None, body: bytes) -> None:
    """Raise RefusedByTokenError unless a call is about one of some clusters: by the job's row id, or its body."""
    if row_id is not None:
        if not Job.objects.filter(pk=row_id, cluster__in=clusters).exists():
            raise RefusedByTokenError(f"no job with database id {row_id} on {_listed(clusters)}, the token's clusters")
        return
    try:
        name = _decoder.decode(body).cluster
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return  # the operation itself refuses it, and says why
    if name not in clusters:
        raise RefusedByTokenError(
            f"field 'cluster': expected {_listed(clusters)}, the clusters of this token, got {name!r:.80}"
        )


def _listed(clusters: frozenset[str]) -> str:
    return " or ".join(sorted(clusters))


def one_of(pairs: list[tuple[str, str]]) -> Filter:
    """Match jobs for which one of some columns has its value."""
    if not pairs:
        return Filter(("FALSE", ()))
    single = [equal(column, value, _RANKS[column]) for column, value in pairs]
    if len(single) == 1:
        return single[0]
    tested, indexed = ([(each.indexed if by_index else each.tested) for each in single] for by_index in (False, True))
    return Filter(_any(tested), _any(indexed), in_order=False)


def _any(conditions: list[Any]) -> tuple[str, list[Any]]:
    values = [value for _, values in conditions for value in values]
    return f"({' OR '.join(sql for sql, _ in conditions)})", values
