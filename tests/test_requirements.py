"""requirements.txt: wheels for each Python, complete, the same packages as in pyproject.toml and requirements.lock."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import PROJECT

PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
QUICKLY = ("--quiet", "--retries", "0", "--timeout", "20", "--disable-pip-version-check")


EXTRAS = {"requirements-log-in.txt": ("jwt", "oidc", "ldap"), "requirements-analysis.txt": ("parquet",)}
FILES = ["requirements.txt", *EXTRAS]


def pinned(part: int | None = None, file: str = "requirements.txt") -> dict[str, Requirement]:
    """Return the requirements by name: all, those that the code imports (part 0), or what they need (part 1)."""
    text = (PROJECT / file).read_text()
    lines = (text if part is None else text.split("# ---\n")[part]).splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith(("#", "-r "))]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def resolve(python: str, folder: Path) -> "subprocess.Popen[str]":
    """Let pip find wheels for a version of Python, for what requirements.txt says and for all that it needs."""
    options = ["--dry-run", "--ignore-installed", "--only-binary", ":all:", "--target", str(folder / "none")]
    options += [*QUICKLY, "--implementation", "cp"]
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    report = ["--report", str(folder / f"{python}.json"), "-r", "requirements.txt"]
    command = [sys.executable, "-m", "pip", "install", *options, *platforms, "--python-version", python, *report]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def require_index(folder: Path) -> None:
    """Skip unless the package index can be reached: pip has the same words for that and for a missing wheel."""
    smallest = str(pinned()["tzdata"])
    command = [sys.executable, "-m", "pip", "download", *QUICKLY, "--no-cache-dir", "--no-deps", "-d", str(folder)]
    if subprocess.run([*command, smallest], capture_output=True, check=False).returncode:
        pytest.skip("the package index of pip cannot be reached")


def test_every_package_has_a_wheel_and_a_pin(tmp_path: Path) -> None:
    require_index(tmp_path)
    processes = {python: resolve(python, tmp_path) for python in PYTHONS}
    for python, process in processes.items():
        _, error = process.communicate()
        assert process.returncode == 0, f"Python {python}\n{error}"
        report: dict[str, Any] = json.loads((tmp_path / f"{python}.json").read_text())
        chosen = {canonicalize_name(package["metadata"]["name"]) for package in report["install"]}
        assert all(package["download_info"]["url"].endswith(".whl") for package in report["install"])
        assert chosen - {"psycopg-binary"} == pinned().keys()  # that one is of psycopg's own version


@pytest.mark.parametrize("file", FILES)
def test_each_version_is_pinned(file: str) -> None:
    for name, requirement in pinned(file=file).items():
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", name


@pytest.mark.parametrize("file", FILES)
def test_pyproject_names_the_same_packages(file: str) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert {name for names in EXTRAS.values() for name in names} == extras.keys()
    names = [name for extra in EXTRAS.get(file, ()) for name in extras[extra]] or project["dependencies"]
    named = {canonicalize_name(one.name): one for one in map(Requirement, names)}
    pins = pinned(0, file)
    assert named.keys() == pins.keys()
    for name, requirement in named.items():
        (pin,) = pins[name].specifier
        assert requirement.specifier.contains(pin.version), name
        assert requirement.extras == pins[name].extras, name


def test_the_lock_has_the_same_versions_each_with_hashes_and_no_address() -> None:
    text = (PROJECT / "requirements.lock").read_text()
    entries = [line for line in text.replace("\\\n", "").splitlines() if not line.startswith("#")]
    locked: dict[str, str] = {}
    for entry in entries:
        found = re.fullmatch(r"([\w.-]+)(?:\[[a-z,]+\])?==(\S+?)((?:\s+--hash=sha256:[0-9a-f]{64})+)\s*", entry)
        assert found, entry[:120]
        locked[canonicalize_name(found[1])] = found[2]
    wanted = {
        name: next(iter(requirement.specifier)).version
        for file in ("requirements.txt", "requirements-log-in.txt")
        for name, requirement in pinned(file=file).items()
    }
    assert locked == wanted | {"psycopg-binary": wanted["psycopg"]}
    assert "://" not in text
