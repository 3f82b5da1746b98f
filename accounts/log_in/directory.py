"""People whom a centre's own log-in names: created when they first come, with roles and projects by their groups.

GROUP_ROLES and GROUP_PROJECTS say which. A role that GROUP_ROLES names for any group is taken again from whoever is no
longer in one of its groups; other roles, given by hand, stay. If GROUP_PROJECTS is set, it alone decides the projects.
"""

import logging
import re
from collections.abc import Collection, Mapping

from django.conf import settings
from django.db import transaction

from accounts import credentials, services
from accounts.exceptions import AccountError
from accounts.models import Role, User

logger = logging.getLogger(__name__)

EVERYBODY = "*"
"""Stands for all groups in GROUP_ROLES."""


def roles_of(groups: Collection[str]) -> set[str]:
    """Return the roles that groups give."""
    given = {role for name, roles in settings.GROUP_ROLES.items() if name in (EVERYBODY, *groups) for role in roles}
    return given | ({Role.MANAGER.value} if projects_of(groups) else set())


def projects_of(groups: Collection[str]) -> list[str]:
    """Return the projects that groups let a person manage, by the patterns that match a whole name of a group."""
    matches = (
        (found, project)
        for pattern, project in settings.GROUP_PROJECTS.items()
        for group in groups
        if (found := re.fullmatch(pattern, group))
    )
    return sorted({found.expand(project) for found, project in matches} - {""})


def check_patterns(projects: Mapping[str, str]) -> None:
    """Raise ValueError that names an entry of GROUP_PROJECTS that is no pattern, or whose project has no such part."""
    for pattern, project in projects.items():
        try:
            matches_anything = re.compile(f"(?:{pattern})|").fullmatch("")
            assert matches_anything is not None
            matches_anything.expand(project)
        except (re.error, IndexError) as error:
            raise ValueError(f"{pattern!r}: {project!r}: {error}") from None


def arrive(*, username: str, groups: Collection[str], name: str = "", email: str = "") -> User | None:
    """Return the user of a person who has logged in elsewhere, created if need be, with what the groups give.

    Return None if the user is inactive. Raise InvalidAccountError for a username that cannot be.
    """
    services.check_username(username)
    with transaction.atomic():
        user, is_new = User.objects.get_or_create(username=username, defaults={"password": "!"})
        if not user.is_active:
            logger.warning("log-in of %s refused: the user is inactive", username)
            return None
        changed = _describe(user, name=name[:255], email=email) | _set_roles(user, groups) | _set_projects(user, groups)
    if is_new:
        logger.info("user %s created at the first log-in, with the roles %s", username, ", ".join(user.roles) or "none")
    if changed:
        credentials.clear_cache()
    return user


def _describe(user: User, **fields: str) -> bool:
    new = {field: text for field, text in fields.items() if text and text != getattr(user, field)}
    for field, text in new.items():
        setattr(user, field, text)
    if new:
        user.save(update_fields=[*new])
    return bool(new)


def _set_roles(user: User, groups: Collection[str]) -> bool:
    wanted = roles_of(groups)
    governed = {role for roles in settings.GROUP_ROLES.values() for role in roles}
    if settings.GROUP_PROJECTS:
        governed.add(Role.MANAGER)
    surplus = [role for role in user.roles if role in governed - wanted]
    missing = [role for role in Role.values if role in wanted - set(user.roles)]
    try:
        services.take_roles(user=user, roles=surplus)
    except AccountError as error:
        logger.warning("%s, whatever its groups are", error)
    user.add_roles(missing)
    return bool(surplus or missing)


def _set_projects(user: User, groups: Collection[str]) -> bool:
    wanted = projects_of(groups)
    if not settings.GROUP_PROJECTS or sorted(user.projects) == wanted:
        return False
    user.project_set.exclude(project__in=wanted).delete()
    del user.projects  # a cached property
    user.add_projects(wanted)
    return True
