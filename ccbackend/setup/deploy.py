"""The systemd units and the file for nginx, filled in for this host."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FOLDER, _ACCOUNT, _ARCHIVE, _NAME = "/opt/ccbackend", "ccbackend", "/srv/job-archive", "jobs.example.org"
"""What the files of deploy/ have in these places."""

_HIDDEN = ("/home", "/root", "/run/user")  # by ProtectHome=true


@dataclass(frozen=True)
class Place:
    """Where the server is: its folder, account, archive, the folder of an SQLite database, and its public name.

    `programs` is the folder of the programs that an installed wheel brings, None in a clone.
    """

    folder: Path
    account: str
    archive: Path
    database: Path | None
    name: str
    programs: Path | None


def files(source: Path, place: Place) -> Iterator[tuple[str, str]]:
    """Yield the path below a folder and the content of each unit, and of nginx's file if there is a public name."""
    for path in sorted((source / "systemd").iterdir()):
        yield f"systemd/{path.name}", _unit(path.read_text(), place)
    if place.name:
        yield "nginx.conf", (source / "nginx.conf").read_text().replace(_NAME, place.name)


def _unit(text: str, place: Place) -> str:
    if place.programs is not None:
        text = re.sub("^Documentation=.*\n", "", text, flags=re.MULTILINE)  # a wheel has no docs/
        text = text.replace(f"{_FOLDER}/.venv/bin/python manage.py", f"{place.programs}/ccbackend")
        text = text.replace(f"{_FOLDER}/.venv/bin/gunicorn ccbackend.wsgi", f"{place.programs}/ccbackend serve")
    text = text.replace(f"User={_ACCOUNT}\n", f"User={place.account}\n")
    text = text.replace(_ARCHIVE, str(place.archive)).replace(f"{_FOLDER}/", f"{place.folder}/")
    text = re.sub(f"{_FOLDER}$", str(place.folder), text, flags=re.MULTILINE)
    if place.database is not None and not place.database.is_relative_to(place.folder / "var"):
        text = re.sub("^(ReadWritePaths=.*)$", rf"\1 {place.database}", text, flags=re.MULTILINE)
    if any(
        str(path).startswith(_HIDDEN)
        for path in filter(None, (place.folder, place.archive, place.database, place.programs))
    ):
        text = text.replace("ProtectHome=true", "ProtectHome=read-only")
    return text
