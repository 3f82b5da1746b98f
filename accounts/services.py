"""Changes of users and tokens, for the API, the admin site and the commands."""

import unicodedata
from collections.abc import Callable, Collection, Sequence

from django.contrib.auth.password_validation import get_default_password_validators
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from accounts import credentials, hashers
from accounts.exceptions import AccountError, InvalidAccountError
from accounts.formatting import spreadsheet_text
from accounts.models import ApiToken, Role, User, UserProject, UserRole

_MAX_TEXT = 255
_MAX_USERNAME = 150


def create_user(
    *,
    username: str,
    roles: Sequence[str],
    password: str | None,
    projects: Sequence[str] = (),
    name: str = "",
    email: str = "",
) -> User:
    """Create a user with its roles and projects and return it.

    With `password` None the user cannot log in by password; if api is the only role, an empty password or one that
    breaks AUTH_PASSWORD_VALIDATORS means the same, and is refused otherwise. Raise InvalidAccountError for an invalid
    value, AccountError if the username is taken.
    """
    check_person(username=username, name=name, email=email)
    if password == "" and roles and set(roles) != {Role.API}:
        raise InvalidAccountError("Only API users are allowed to have a blank password (login will be impossible)")
    check_access(roles, projects)
    if password and (broken := _broken_rules(password, User(username=username, name=name, email=email))):
        if set(roles) != {Role.API}:
            raise InvalidAccountError(f"password: {' '.join(broken)}")
        password = None  # nobody can log in with it now, nor shall anybody if the user gets another role
    try:
        return _stored(User.objects.new(username, email, password or None, name=name), roles, projects)
    except IntegrityError:
        raise AccountError(f"username {username!r} is already taken") from None


def adopt_user(
    *,
    username: str,
    name: str,
    email: str,
    roles: Sequence[str],
    projects: Sequence[str],
    password: str,
    dry_run: bool = False,
) -> bool:
    """Create a user of cc-backend with its roles and projects; return False if there is a user of this name.

    `password` is a bcrypt hash, or empty. A manager may be without projects, as there. Raise InvalidAccountError.
    """
    if User.objects.filter(username=username).exists():
        return False
    check_person(username=username, name=name, email=email)
    _check_names(roles, projects)
    if password and not hashers.is_bcrypt(password):
        raise InvalidAccountError("password: expected a hash by bcrypt")
    if not dry_run:
        user = User.objects.new(username, email, None, name=name)
        if password:
            user.password = hashers.adopted(password)
        _stored(user, roles, projects)
    return True


def _stored(user: User, roles: Sequence[str], projects: Sequence[str]) -> User:
    """Store a new user with its roles and projects, and return it."""
    with transaction.atomic():
        user.save(force_insert=True)
        user.add_roles(roles)
        user.add_projects(projects)
    return user


def delete_user(*, username: str, actor: User) -> None:
    """Delete a user with its tokens; refuse to delete `actor` and the last active admin."""
    with transaction.atomic():
        user = _locked(username)
        if user.pk == actor.pk:
            raise AccountError(f"user {username!r} cannot delete itself")
        _keep_an_admin(user)
        user.delete()


def set_active(*, user: User, active: bool) -> None:
    """Activate or deactivate a user; refuse to deactivate the last active admin."""
    with transaction.atomic():
        user = _locked(user.username)
        if not active:
            _keep_an_admin(user)
        user.is_active = active
        user.save(update_fields=["is_active"])
    credentials.clear_cache()


def revoke_token(*, token: ApiToken) -> bool:
    """Revoke a token; return False if it was already revoked.

    This process refuses the token at once, others when their cached look-up expires (see accounts.credentials).
    """
    revoked = token.revoke()
    credentials.clear_cache()
    return revoked


def set_access(*, username: str, roles: Sequence[str], projects: Sequence[str]) -> User:
    """Give a user exactly these roles and projects, and return it.

    Raise InvalidAccountError for roles or projects that cannot be together, AccountError if there is no such user, or
    if the last active admin would lose the role.
    """
    check_access(roles, projects)
    with transaction.atomic():
        user = _locked(username)
        if Role.ADMIN not in roles:
            _keep_an_admin(user)
        UserRole.objects.filter(user=user).exclude(role__in=roles).delete()
        UserProject.objects.filter(user=user).exclude(project__in=projects).delete()
        user = User.objects.with_access().get(pk=user.pk)
        user.add_roles(roles)
        user.add_projects(projects)
    credentials.clear_cache()
    return User.objects.with_access().get(pk=user.pk)


def add_role(*, username: str, role: str) -> None:
    """Give a user another role; raise AccountError if the user has it."""
    with transaction.atomic():
        user = _locked(username)
        _check_role(role, AccountError)
        if user.has_role(role):
            raise AccountError(f"User {username} already has role {role}")
        user.add_roles([role])


def remove_role(*, username: str, role: str) -> None:
    """Take a role from a user; refuse if a manager has projects or the user is the last active admin."""
    with transaction.atomic():
        user = _locked(username)
        _check_role(role, AccountError)
        if not user.has_role(role):
            raise AccountError(f"User {username} does not have role {role}")
        if role == Role.MANAGER and user.projects:
            projects = ", ".join(user.projects)
            raise AccountError(f"Cannot remove role 'manager' while user {username} still has projects: {projects}")
        if role == Role.ADMIN:
            _keep_an_admin(user)
        UserRole.objects.filter(user=user, role=role).delete()


def take_roles(*, user: User, roles: Collection[str]) -> None:
    """Take roles from a user, projects or not; refuse to take the role admin from the last active admin."""
    if Role.ADMIN in roles:
        _keep_an_admin(user)
    if roles:
        UserRole.objects.filter(user=user, role__in=roles).delete()
        del user.roles  # a cached property


def add_project(*, username: str, project: str) -> None:
    """Add a project to those of a manager."""
    with transaction.atomic():
        user = _locked(username)
        _check_texts(project=project)
        if not user.has_role(Role.MANAGER):
            raise AccountError(f"user {username!r} is not a manager")
        if project in user.projects:
            raise AccountError(f"user {username!r} already manages project {project!r}")
        user.add_projects([project])


def remove_project(*, username: str, project: str) -> None:
    """Remove a project from those of a manager."""
    with transaction.atomic():
        user = _locked(username)
        if not user.has_role(Role.MANAGER):
            raise AccountError(f"user {username!r} is not a manager")
        if not UserProject.objects.filter(user=user, project=project).delete()[0]:
            raise AccountError(f"user {username!r} does not manage project {project!r}")


def _locked(username: str) -> User:
    """Return a user, locked for a change.

    The active admins are locked first, in a fixed order, because a change may depend on whether others are left.
    """
    lock_admins()
    user = User.objects.select_for_update().filter(username=username).first()
    if user is None:
        raise AccountError(f"no such user: {username!r}")
    return user


def lock_admins() -> None:
    """Lock the active admins, in a fixed order, inside the caller's transaction."""
    list(_active_admins())


def _active_admins() -> QuerySet[UserRole]:
    return UserRole.objects.select_for_update().filter(role=Role.ADMIN, user__is_active=True).order_by("id")


def _keep_an_admin(user: User) -> None:
    """Raise AccountError if `user` is the last active admin."""
    if [row.user_id for row in _active_admins()] == [user.pk]:
        raise AccountError(f"user {user.username!r} is the last active admin: it keeps its role and stays active")


def check_access(roles: Sequence[str], projects: Sequence[str]) -> None:
    """Raise InvalidAccountError unless a user may have these roles and projects together."""
    _check_names(roles, projects)
    if not roles:
        raise InvalidAccountError(f"role is required: expected one of {_known_roles()}")
    if projects and Role.MANAGER not in roles:
        raise InvalidAccountError("only managers require a project (can be changed later)")
    if Role.MANAGER in roles and not projects:
        raise InvalidAccountError("managers require a project to manage (can be changed later)")


def _check_names(roles: Sequence[str], projects: Sequence[str]) -> None:
    _check_texts(**{f"project {number}": project for number, project in enumerate(projects, start=1)})
    for role in roles:
        _check_role(role)


def check_person(*, username: str, name: str, email: str) -> None:
    """Raise InvalidAccountError for a username, a name or an e-mail address that cannot be."""
    check_username(username)
    _check_texts(name=name, email=email)


def check_username(username: str) -> None:
    """Raise InvalidAccountError for a username that cannot be."""
    try:
        UnicodeUsernameValidator()(username)
    except ValidationError:
        allowed = "letters, digits and @ . + - _"
        raise InvalidAccountError(f"username {username!r}: expected {allowed}, at least one") from None
    if len(username) > _MAX_USERNAME:
        raise InvalidAccountError(f"username {username!r}: expected at most {_MAX_USERNAME} characters")


def _check_texts(**texts: str) -> None:
    for field, text in texts.items():
        if len(text) > _MAX_TEXT:
            raise InvalidAccountError(f"{field} {text[:40]!r}…: expected at most {_MAX_TEXT} characters")
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
            raise InvalidAccountError(f"{field} {text[:40]!r}: expected a text without control characters")
        if field.startswith("project") and not text:
            raise InvalidAccountError("project: expected a name, got an empty text")
    name = texts.get("name", "")
    if len(name) > 1 and spreadsheet_text(name) != name:
        raise InvalidAccountError(f"name {name[:40]!r}: expected a name, not what a spreadsheet takes for a formula")
    if texts.get("email"):
        try:
            validate_email(texts["email"])
        except ValidationError:
            raise InvalidAccountError(f"email {texts['email']!r}: expected an e-mail address") from None


def _broken_rules(password: str, user: User) -> list[str]:
    """Return what the rules that a password breaks expect of it; none of the texts has a part of the password."""
    broken = []
    for rule in get_default_password_validators():
        try:
            rule.validate(password, user)
        except ValidationError:
            broken.append(rule.get_help_text())
    return broken


def _known_roles() -> str:
    return ", ".join(Role.values)


def _check_role(role: str, error: Callable[[str], AccountError] = InvalidAccountError) -> None:
    if role not in Role.values:
        raise error(f"Supplied role is no valid option: {role!r}, expected one of {_known_roles()}")
