"""Users from a file of comma-separated values: what it would change, line by line, and the change itself.

A line says what the user is to have. A column that the file lacks leaves what there is; passwords are never set.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.db import IntegrityError, transaction

from accounts import credentials
from accounts.exceptions import AccountError, InvalidAccountError
from accounts.models import Role, User, UserProject, UserRole
from accounts.services import check_access, check_person, lock_admins

COLUMNS = ("username", "name", "email", "roles", "projects")
"""The columns of a file; only the first is required, and roles for new users."""

MOST_BYTES = 2_000_000
MOST_LINES = 5_000

_SHOWN = 40  # characters of a value
_SEPARATORS = re.compile(r"[\s,;|]+")
_AT_ONCE = 500  # rows that one statement inserts


class FileError(InvalidAccountError):
    """A file that cannot be read at all; the message says where and what was expected."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that is left out: its number, the field with the value that cannot be, and what was expected."""

    line: int
    field: str
    value: str
    expected: str


@dataclass(frozen=True, slots=True)
class Change:
    """A field of a user with its old and new value."""

    field: str
    old: str
    new: str


class Wanted(NamedTuple):
    """What a user is to have."""

    username: str
    name: str
    email: str
    roles: tuple[str, ...]
    projects: tuple[str, ...]


@dataclass
class Plan:
    """What a file would do: users that are new, changed or as they are, and lines that are refused."""

    new: list[Wanted] = field(default_factory=list)
    changed: list[tuple[Wanted, list[Change]]] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    unchanged: int = 0

    @property
    def is_empty(self) -> bool:
        """Return whether there is nothing to do."""
        return not self.new and not self.changed

    @property
    def digest(self) -> str:
        """Return a short text that is another one for another plan."""
        return hashlib.sha256(json.dumps(self.document()).encode()).hexdigest()[:32]

    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "new": [user._asdict() for user in self.new],
            "changed": [
                {"username": user.username, "changes": [asdict(change) for change in changes]}
                for user, changes in self.changed
            ],
            "unchanged": self.unchanged,
            "refused": [asdict(refusal) for refusal in self.refused],
        }


def plan(data: bytes | str) -> Plan:
    """Return what a file would do, compared with the users that there are now. Raise FileError."""
    return _planned(list(_records(text_of(data))))


def apply(data: bytes | str, *, actor: User, through: str = "", digest: str | None = None) -> Plan:
    """Do what a file says, but for the lines that are refused, in one transaction with entries of the history.

    With a `digest`, only if the plan is still the one that was shown. Return what was done. Raise FileError, and
    AccountError if the plan is another one, or users of these names were created at the same moment.
    """
    records = list(_records(text_of(data)))
    try:
        with transaction.atomic():
            lock_admins()
            list(User.objects.select_for_update().filter(username__in=[r.cells["username"] for r in records]))
            found = _planned(records)
            if digest is not None and digest != found.digest:
                raise AccountError("users have changed since the preview was shown: look at it once more")
            _create(found.new, actor, through)
            _change(found.changed, actor, through)
    except IntegrityError:
        raise AccountError("users of these names are being created at this moment; nothing was changed") from None
    credentials.clear_cache()
    return found


# --- the file ---


class _Record(NamedTuple):
    line: int
    cells: dict[str, str]
    problem: Refusal | None = None


def text_of(data: bytes | str) -> str:
    """Return the text of a file. Raise FileError if it is too large, or not UTF-8."""
    if isinstance(data, str):
        data = data.encode(errors="surrogatepass")
    if len(data) > MOST_BYTES:
        raise FileError(f"the file has {len(data):,} bytes; expected at most {MOST_BYTES:,}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FileError(f"line {line}: expected UTF-8, got the byte 0x{data[error.start]:02x}") from None


def _records(text: str) -> Iterator[_Record]:
    """Yield the lines of a file, with their cells by column."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = ";" if header.count(";") > header.count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] = []
    number = 0
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if not columns:
                columns = _columns(row)
                continue
            number += 1
            if number > MOST_LINES:
                raise FileError(f"line {reader.line_num}: expected at most {MOST_LINES:,} users")
            yield _record(reader.line_num, columns, row)
    except csv.Error as error:
        raise FileError(f"line {reader.line_num}: {error}; expected comma-separated values") from None
    if not columns:
        raise FileError(f"the file is empty; expected a line with the columns {', '.join(COLUMNS)}")


def _columns(row: Sequence[str]) -> list[str]:
    columns = [cell.strip().lower() for cell in row]
    for name in columns:
        if name not in COLUMNS:
            raise FileError(f"column {name[:_SHOWN]!r}: expected one of {', '.join(COLUMNS)}")
        if columns.count(name) > 1:
            raise FileError(f"column {name}: expected once")
    if "username" not in columns:
        raise FileError(f"the first line has no column username; the columns are {', '.join(COLUMNS)}")
    return columns


def _record(line: int, columns: Sequence[str], row: Sequence[str]) -> _Record:
    cells = dict(zip(columns, (cell.strip() for cell in row), strict=False))
    cells["username"] = User.normalize_username(cells.get("username", ""))
    if len(row) != len(columns):
        expected = f"{len(columns)} values: {', '.join(columns)}"
        return _Record(line, cells, Refusal(line, "line", f"{len(row)} values", expected))
    return _Record(line, cells)


# --- the plan ---


def _planned(records: Sequence[_Record]) -> Plan:
    users = User.objects.with_access().filter(username__in=[record.cells["username"] for record in records])
    known = {user.username: user for user in users}
    admins = set(
        UserRole.objects.filter(role=Role.ADMIN, user__is_active=True).values_list("user__username", flat=True)
    )
    found, seen = Plan(), dict[str, int]()
    for record in records:
        username = record.cells["username"]
        refusal = record.problem or _twice(record, seen)
        seen.setdefault(username, record.line)
        user = known.get(username)
        wanted = _wanted(record, user)
        refusal = refusal or _refusal(record, wanted, user) or _last_admin(record, wanted, user, admins)
        if refusal is not None:
            found.refused.append(refusal)
        elif user is None:
            found.new.append(wanted)
            admins |= {username} if Role.ADMIN in wanted.roles else set()
        elif changes := _changes(user, wanted):
            found.changed.append((wanted, changes))
            if user.is_active:
                admins = admins | {username} if Role.ADMIN in wanted.roles else admins - {username}
        else:
            found.unchanged += 1
    return found


def _wanted(record: _Record, user: User | None) -> Wanted:
    def cell(name: str) -> str:
        return record.cells.get(name, getattr(user, name, "") if user else "")

    def words(name: str) -> tuple[str, ...]:
        if name not in record.cells:
            return tuple(getattr(user, name)) if user else ()
        return tuple(dict.fromkeys(word for word in _SEPARATORS.split(record.cells[name]) if word))

    email = User.objects.normalize_email(cell("email"))
    return Wanted(record.cells["username"], cell("name"), email, words("roles"), words("projects"))


def _twice(record: _Record, seen: dict[str, int]) -> Refusal | None:
    first = seen.get(record.cells["username"])
    if first is None:
        return None
    return _refused(record, "username", f"each user once; this one is in line {first}")


def _refusal(record: _Record, wanted: Wanted, user: User | None) -> Refusal | None:
    """Return why a line cannot be, by the rules of `create_user`; what the user has already is not looked at."""
    changed = {name for name in COLUMNS if user is None or _has(user, name) != _listed(getattr(wanted, name))}
    any_project = ["any"] if Role.MANAGER in wanted.roles else []
    checks: dict[str, Callable[[], None]] = {
        "username": lambda: check_person(username=wanted.username, name="", email=""),
        "name": lambda: check_person(username=wanted.username, name=wanted.name, email=""),
        "email": lambda: check_person(username=wanted.username, name="", email=wanted.email),
        "roles": lambda: check_access(wanted.roles or [""], any_project),
        "projects": lambda: check_access(wanted.roles, wanted.projects),
    }
    if "roles" in changed:  # whether there is to be a project depends on them
        changed.add("projects")
    for name in COLUMNS:
        try:
            if name in changed:
                checks[name]()
        except InvalidAccountError as error:
            _, _, expected = str(error).rpartition("expected ")
            return _refused(record, name, expected)
    return None


def _last_admin(record: _Record, wanted: Wanted, user: User | None, admins: set[str]) -> Refusal | None:
    if user is None or admins != {user.username} or Role.ADMIN in wanted.roles:
        return None
    return _refused(record, "roles", "the role admin, since this is the last active administrator")


def _refused(record: _Record, name: str, expected: str) -> Refusal:
    value = record.cells.get(name, "")
    shown = repr(value[:_SHOWN]) + ("…" if len(value) > _SHOWN else "") if name in record.cells else "no such column"
    return Refusal(record.line, name, shown, expected)


def _changes(user: User, wanted: Wanted) -> list[Change]:
    """Return the fields that change; the order of roles and projects is none."""
    pairs = [Change(name, _has(user, name), _listed(getattr(wanted, name))) for name in COLUMNS]
    return [change for change in pairs if change.old != change.new]


def _has(user: User, name: str) -> str:
    return _listed(getattr(user, name))


def _listed(value: str | Iterable[str]) -> str:
    return value if isinstance(value, str) else ", ".join(sorted(value))


# --- the change ---


def _create(users: Sequence[Wanted], actor: User, through: str) -> None:
    rows = [User.objects.new(user.username, user.email, None, name=user.name) for user in users]
    made = User.objects.bulk_create(rows, batch_size=_AT_ONCE)
    _give(zip(made, users, strict=True))
    _log(actor, made, ADDITION, f"Imported from a file.{_said(through)}")


def _change(changed: Sequence[tuple[Wanted, list[Change]]], actor: User, through: str) -> None:
    by_name = {user.username: user for user in User.objects.filter(username__in=[user.username for user, _ in changed])}
    users = [(by_name[wanted.username], wanted) for wanted, _ in changed]
    for (user, wanted), (_, changes) in zip(users, changed, strict=True):
        user.name, user.email = wanted.name, wanted.email
        if not {change.field for change in changes} & {"roles", "projects"}:
            continue
        UserRole.objects.filter(user=user).exclude(role__in=wanted.roles).delete()
        UserProject.objects.filter(user=user).exclude(project__in=wanted.projects).delete()
    User.objects.bulk_update([user for user, _ in users], ["name", "email"], batch_size=_AT_ONCE)
    _give(users)
    for (user, _), (_, changes) in zip(users, changed, strict=True):
        lines = "".join(
            f"\n{change.field}: {change.old or '(empty)'} → {change.new or '(empty)'}" for change in changes
        )
        _log(actor, [user], CHANGE, f"Changed by an import from a file.{lines}{_said(through)}")


def _give(users: Iterable[tuple[User, Wanted]]) -> None:
    """Store roles and projects that users do not have yet."""
    roles: list[UserRole] = []
    projects: list[UserProject] = []
    for user, wanted in users:
        roles += [UserRole(user=user, role=role) for role in wanted.roles]
        projects += [UserProject(user=user, project=project) for project in wanted.projects]
    UserRole.objects.bulk_create(roles, batch_size=_AT_ONCE, ignore_conflicts=True)
    UserProject.objects.bulk_create(projects, batch_size=_AT_ONCE, ignore_conflicts=True)


def _said(through: str) -> str:
    return f"\nThrough {through}." if through else ""


def _log(actor: User, users: Sequence[User], flag: int, message: str) -> None:
    if users:
        LogEntry.objects.log_actions(actor.pk, users, flag, change_message=message)
