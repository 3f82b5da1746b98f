"""Read one setting of the environment and of `.env`; refuse a value that cannot be, by the setting's name."""

import json
import math
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from ccbackend.environment import parse_file

TESTING = "pytest" in sys.modules

CODE_DIR = Path(__file__).resolve().parent.parent
"""The folder of the packages: the root of a clone, or site-packages."""

_PACKAGE = Path(__file__).resolve().parent
IS_INSTALLED = (_PACKAGE / "deploy").is_dir()
"""Whether this code was installed from a wheel."""

RESOURCES = _PACKAGE if IS_INSTALLED else CODE_DIR
"""The folder of deploy/, templates/ and gunicorn.conf.py."""


def _base_dir() -> Path:
    """Return the folder of `.env` and var: in a clone its root, otherwise that of ENV_FILE or the current one."""
    if not IS_INSTALLED:
        return CODE_DIR
    path = os.environ.get("ENV_FILE", os.devnull)
    return Path.cwd() if path == os.devnull else Path(path).resolve().parent


BASE_DIR = _base_dir()

names_from_file: set[str] = set()
"""The settings that load_env_file has added to the environment."""


def load_env_file() -> None:
    """Add the settings of ENV_FILE to the environment, which takes precedence."""
    default = str(BASE_DIR / ".env")
    # Also set for the processes that this one starts, so that those of a test do not read the settings of the checkout.
    path = os.environ.setdefault("ENV_FILE", os.devnull if TESTING else default)
    try:
        found = parse_file(Path(path).read_bytes())
    except FileNotFoundError:
        if path == default:
            return
        raise ImproperlyConfigured(f"ENV_FILE: there is no file {path}") from None
    except OSError as error:
        raise ImproperlyConfigured(f"ENV_FILE: {path!r} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ImproperlyConfigured(f"The settings in {path} cannot be read: {error}") from None
    names_from_file.update(found.keys() - os.environ.keys())
    for name, value in found.items():
        os.environ.setdefault(name, value)


def read_text(name: str, default: str) -> str:
    """Read a setting; refuse one that is set but empty."""
    text = os.environ.get(name, default)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ImproperlyConfigured(f"{name}: expected UTF-8") from None
    if default and not text.strip():
        hint = f"give a value, or remove the setting, which means {default}"
        raise ImproperlyConfigured(f"{name} is set but empty: {hint}")
    return text.strip()


def read_flag(name: str, default: str = "false") -> bool:
    """Read a yes/no setting; any other value is refused instead of being taken as false. Empty means the default."""
    text = (read_text(name, "") or default).lower()
    if text in {"1", "true", "yes", "on"}:
        return True
    if text in {"0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name}={text!r}: expected true or false")


def read_whole(name: str, default: int, minimum: int, maximum: int = 2**31 - 1) -> int:
    """Read a whole number within limits."""
    text = read_text(name, str(default))
    if not re.fullmatch("[0-9]{1,18}", text) or not minimum <= int(text) <= maximum:
        raise ImproperlyConfigured(f"{name}={text!r}: expected a whole number from {minimum} to {maximum}")
    return int(text)


def read_numbers(name: str, default: str) -> tuple[float, ...]:
    """Read a comma-separated list of finite numbers."""
    try:
        numbers = tuple(float(word) for word in read_words(name, default))
    except ValueError:
        numbers = (math.nan,)
    if not all(map(math.isfinite, numbers)):
        raise ImproperlyConfigured(
            f"{name}={read_text(name, default)!r}: expected numbers such as -1,9223372036854775792"
        )
    return numbers


def read_path(name: str, default: str) -> Path:
    """Read a path; a relative one is relative to BASE_DIR, which itself is refused."""
    text = read_text(name, default)
    if text[0] in "'\"":
        raise ImproperlyConfigured(f"{name}={text!r}: expected a path without quotes")
    try:
        path = BASE_DIR / Path(text).expanduser()
    except RuntimeError:
        raise ImproperlyConfigured(f"{name}={text!r}: expected a path, but there is no such user") from None
    if BASE_DIR.is_relative_to(os.path.normpath(path)):  # the file system itself may hang
        raise ImproperlyConfigured(f"{name}={text!r}: expected a folder of its own, not one that has the project in it")
    return path


def read_words(name: str, default: str = "", pattern: str = ".*", expected: str = "") -> list[str]:
    """Read a comma-separated list, each of whose words must match the pattern; an empty list means the default."""
    words = [word.strip() for word in (read_text(name, "").strip(", ") or default).split(",") if word.strip()]
    for word in words:
        if not re.fullmatch(pattern, word):
            raise ImproperlyConfigured(f"{name}={word!r}: expected {expected}")
    return words


def read_mode(name: str, default: str) -> int:
    """Read the permissions of files as chmod takes them: the owner's 6, then 0, 4 or 6 for the group and for others."""
    text = read_text(name, default)
    if not re.fullmatch("0?6[046][046]", text):
        raise ImproperlyConfigured(f"{name}={text!r}: expected 0600, 0640 or 0660 for a group, or 0644 for everybody")
    return int(text, 8)


def read_parsed(name: str, default: str, parse: Callable[[str], Any]) -> Any:
    """Read a setting by a function that raises ValueError for what it cannot be."""
    try:
        return parse(read_text(name, default))
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}") from None


def read_json(name: str, default: str, check: Callable[[Any], bool], expected: str) -> dict[str, Any]:
    """Read a JSON object whose values all pass a check. A mistake is not repeated, since it may have a secret."""
    try:
        found = json.loads(read_text(name, default))
        is_right = isinstance(found, dict) and all(map(check, found.values()))
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        is_right = False
    if not is_right:
        raise ImproperlyConfigured(f"{name}: expected JSON such as {expected}")
    return dict(found)


def read_object(name: str, required: set[str], optional: dict[str, Any], expected: str) -> dict[str, Any]:
    """Read a JSON object with some keys, and with the values of others where they are not given; empty means none.

    No mistake is repeated, since the object may have a secret.
    """
    found = read_json(name, "{}", lambda value: isinstance(value, str | bool), expected)
    if not found:
        return {}
    has_kinds = all(isinstance(value, type(optional.get(key, ""))) for key, value in found.items())
    if not (required <= found.keys() <= required | optional.keys() and has_kinds):
        keys = f"the keys {', '.join(sorted(required))}, perhaps {', '.join(sorted(optional))}"
        raise ImproperlyConfigured(f"{name}: expected {keys}: {expected}")
    return optional | found


def private_folder(path: Path) -> None:
    """Create a folder and those above it, for the account of the server alone."""
    for folder in reversed([path, *path.parents]):
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)
