"""The ids of tags by type and name, and new tags."""

from collections.abc import Collection, Mapping

from django.db import transaction

from jobs.models import Tag
from jobs.rows.insert import keep_ids
from jobs.rows.locks import lock_new_tags

Pair = tuple[str, str]
"""Type and name of a tag."""


def tag_ids(wanted: Collection[Pair], wishes: Mapping[Pair, int] | None = None) -> dict[Pair, int]:
    """Return the ids of tags; new ones are created, under the id in `wishes` if that is free.

    Inside the caller's transaction, if there is one. A tag that no job has does no harm.
    """
    known = known_tags(wanted)
    missing = [pair for pair in wanted if pair not in known]
    if missing:
        with transaction.atomic():
            lock_new_tags()
            _create(missing, wishes or {})
        known |= known_tags(missing)
    return known


def _create(pairs: Collection[Pair], wishes: Mapping[Pair, int]) -> None:
    wished = {wishes[pair]: pair for pair in pairs if pair in wishes}
    if wished:
        keep_ids(Tag, max(wished))
        for taken in Tag.objects.filter(pk__in=wished).values_list("pk", flat=True):
            del wished[taken]
        Tag.objects.bulk_create(
            [Tag(pk=row_id, type=type_, name=name) for row_id, (type_, name) in wished.items()], ignore_conflicts=True
        )
    granted = set(wished.values())
    new = [Tag(type=type_, name=name) for type_, name in pairs if (type_, name) not in granted]
    Tag.objects.bulk_create(new, ignore_conflicts=True)


def known_tags(pairs: Collection[Pair]) -> dict[Pair, int]:
    """Return the ids of those tags that exist."""
    if not pairs:
        return {}
    of_types = Tag.objects.filter(type__in={type_ for type_, _ in pairs}, name__in={name for _, name in pairs})
    found = {(tag.type, tag.name): tag.pk for tag in of_types}
    return {pair: found[pair] for pair in pairs if pair in found}
