"""The file of settings: what it has, and lines added to it."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from ccbackend.environment import parse_file
from ccbackend.setup import SetupError

_HEAD = "# Written by manage.py setup; docs/configuration.md explains every setting.\n"
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.,:/@%+?=&~*[]")


def new_secret() -> str:
    """Return a SECRET_KEY."""
    return secrets.token_urlsafe(50)


def read(path: Path) -> dict[str, str]:
    """Return the settings of a file, none if there is no file; raise SetupError."""
    try:
        return parse_file(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SetupError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SetupError(f"{path}: {error}") from None


def add(path: Path, settings: Mapping[str, str]) -> None:
    """Add settings to a file, which is made for its owner alone; what it has stays as it is. Raise SetupError."""
    lines = "".join(f"{name}={_written(value)}\n" for name, value in settings.items())
    try:
        before = path.read_text() if path.exists() else _HEAD
        separator = "" if before.endswith("\n") else "\n"
        new = path.with_name(f"{path.name}.new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(before + separator + lines)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
    except OSError as error:
        raise SetupError(f"{path} cannot be written: {error.strerror}; run setup as the owner of its folder") from None


def _written(value: str) -> str:
    """Return a value as a line of the file has it."""
    if set(value) <= _PLAIN:
        return value
    if "'" not in value:
        return f"'{value}'"
    escaped = "".join(f"\\{character}" if character in '"\\$`' else character for character in value)
    return f'"{escaped}"'
