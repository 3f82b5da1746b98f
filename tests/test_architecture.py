"""The rules between the rooms of the house: what may import what, and what may be named.

Imports run one way: ccbackend -> jobs -> {accounts, archive}. Inside jobs each room imports the files at the root of
jobs and the rooms that ROOMS names. The rules hold for strings too: a module, permission, model or URL of another app
in quotes is an import that no tool sees.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from django.contrib import admin

from tests.support.paths import PROJECT

MAY_IMPORT = {
    "ccbackend": {"ccbackend", "jobs", "accounts", "archive"},
    "jobs": {"jobs", "accounts", "archive"},
    "accounts": {"accounts"},
    "archive": {"archive"},
}

ROOMS = {
    "rows": set[str](),
    "search": {"ledger"},
    "health": set[str](),
    "overview": {"health", "ledger"},
    "ledger": {"rows"},
    "tag_rules": {"rows", "ledger", "search"},
    "archiving": {"rows", "ledger", "tag_rules"},
    "samples": {"rows"},
    "tags": {"rows", "archiving"},
    "deletion": {"rows", "ledger"},
    "bulk": {"rows", "ledger", "archiving", "tags", "intake", "curation", "deletion", "search"},
    "intake": {"rows", "archiving", "tags"},
    "curation": {"rows", "ledger", "archiving", "tags", "intake"},
    "reconcile": {"rows", "archiving", "tags", "intake", "curation"},
    "maintenance": {"rows", "ledger", "archiving", "tags", "samples", "deletion"},
}
"""The rooms of jobs, and which others each may import. A subject with one file is a file at the root of jobs."""

ENTRANCES = {"admin", "api", "management", "templatetags", "demo", "apps"}
"""What may import any room; admin itself is imported by the tags of its templates alone."""

MOST_MODULES = 14
"""Modules at the root of jobs."""

FILES = sorted(
    path.relative_to(PROJECT)
    for app in MAY_IMPORT
    for path in (PROJECT / app).rglob("*.py")
    if "migrations" not in path.parts
)


def imported(tree: ast.AST, path: Path) -> Iterator[tuple[str, int]]:
    """Yield each imported module or name, dotted, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            folder = ".".join(path.parent.parts[: len(path.parent.parts) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (folder, node.module or "") if part)
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def quoted(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield each string that names something dotted of ours, such as "jobs.view_job", with its line."""
    pattern = re.compile(rf"(?:{'|'.join(MAY_IMPORT)})\.\w+(?:\.\w+)*")
    prose = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield from ((name, node.lineno) for name in [node.value] if pattern.fullmatch(name))


def room_of(module: str) -> str:
    """Return the room of jobs that a dotted name lies in, "" for the files at its root and for other apps."""
    parts = module.split(".")
    if parts[0] != "jobs" or len(parts) < 2:
        return ""
    is_room = parts[1] in ROOMS.keys() | ENTRANCES or (PROJECT / "jobs" / parts[1]).is_dir()
    return parts[1] if is_room else ""


def rooms_allow(importer: Path, module: str) -> bool:
    """Return whether a file of jobs may import a module of jobs."""
    here, there = room_of(".".join(importer.with_suffix("").parts)), room_of(module)
    if there in ("", here):
        return True
    if there == "admin":
        return here == "templatetags"
    return here in ENTRANCES or there in ROOMS.get(here, ())


def inside_functions(tree: ast.AST, path: Path) -> Iterator[int]:
    """Yield the lines of imports inside functions, but for AppConfig.ready."""
    ready = {
        method
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and path.name == "apps.py"
        for method in node.body
        if isinstance(method, ast.FunctionDef) and method.name == "ready"
    }
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and function not in ready:
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    yield node.lineno


class Names(NamedTuple):
    """What a file of the project names: modules it imports and quotes, with lines, and what it takes from others."""

    imported: list[tuple[str, int]]
    quoted: list[tuple[str, int]]
    inside_functions: list[int]
    passed_on: set[str]


@cache
def names_in(path: Path) -> Names:
    """Return the names in a file; it is read once for all tests, and its large syntax tree is not kept."""
    tree = ast.parse((PROJECT / path).read_text())
    passed_on = {
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    return Names([*imported(tree, path)], [*quoted(tree)], [*inside_functions(tree, path)], passed_on)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_and_quoted_names_run_one_way(path: Path) -> None:
    names = names_in(path)
    wrong = [
        f"{path}:{line} names {module}"
        for module, line in [*names.imported, *names.quoted]
        if (top := module.partition(".")[0]) in MAY_IMPORT and top not in MAY_IMPORT[path.parts[0]]
    ]
    assert wrong == []


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] == "jobs"], ids=str)
def test_each_room_of_jobs_imports_only_those_below_it(path: Path) -> None:
    names = names_in(path)
    found = [*names.imported, *names.quoted]
    assert [f"{path}:{line} names {module}" for module, line in found if not rooms_allow(path, module)] == []


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_import_stands_inside_a_function(path: Path) -> None:
    assert [f"{path}:{line}" for line in names_in(path).inside_functions] == []


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_module_passes_on_the_names_of_another(path: Path) -> None:
    """A name is imported from where it is defined, so that a search for it ends there."""
    wrong = []
    for module, line in names_in(path).imported:
        base, _, name = module.rpartition(".")
        source = (PROJECT / Path(*base.split("."))).with_suffix(".py")
        source = source if source.exists() else source.with_suffix("") / "__init__.py"
        if base.partition(".")[0] not in MAY_IMPORT or not source.exists():
            continue
        passed_on = names_in(source.relative_to(PROJECT)).passed_on
        if name in passed_on and not (source.parent / f"{name}.py").exists():
            wrong.append(f"{path}:{line} imports {name} from {base}, which imports it itself")
    assert wrong == []


def test_the_root_of_jobs_holds_few_modules() -> None:
    modules = [path.name for path in (PROJECT / "jobs").glob("*.py")]
    assert len(modules) <= MOST_MODULES, sorted(modules)


def test_each_room_is_named_here() -> None:
    folders = {path.name for path in (PROJECT / "jobs").iterdir() if (path / "__init__.py").exists()}
    files = {path.stem for path in (PROJECT / "jobs").glob("*.py")}
    assert folders - ENTRANCES - {"migrations"} <= ROOMS.keys()
    assert ROOMS.keys() <= folders | files


def test_the_application_never_imports_its_tests() -> None:
    for path in FILES:
        assert "tests" not in {module.partition(".")[0] for module, _ in names_in(path).imported}, path


def test_these_tests_see_what_they_look_for() -> None:
    source = (
        "import jobs.models\nfrom accounts import x\nfrom . import y\n"
        'def f():\n    import z\n    return "jobs.view_job"\n'
    )
    tree, path = ast.parse(source), Path("archive/sources/base.py")
    assert [module for module, _ in imported(tree, path)][:3] == ["jobs.models", "accounts.x", "archive.sources.y"]
    assert list(inside_functions(tree, path)) == [5]
    assert list(quoted(tree)) == [("jobs.view_job", 6)]
    assert not rooms_allow(Path("jobs/rows/select.py"), "jobs.intake.sql.stop_run")
    assert not rooms_allow(Path("jobs/overview/site.py"), "jobs.admin.jobs.JobAdmin")
    assert rooms_allow(Path("jobs/intake/services.py"), "jobs.tags.services.link_tags")
    assert rooms_allow(Path("jobs/intake/services.py"), "jobs.models.Job")


def test_every_model_is_in_the_admin_site() -> None:
    """Importing jobs.admin while the site is being built would lose models from it, with `check` green."""
    names = {model._meta.label for model in admin.site._registry}
    assert {"accounts.User", "accounts.ApiToken", "jobs.Job", "jobs.Tag"} <= names


def test_the_server_and_the_worker_load_no_plotting_library() -> None:
    """Bokeh's Python part takes a second and 50 MB, and is of no use to them."""
    script = (
        "import sys, ccbackend.wsgi, jobs.archiving.worker, jobs.admin;"
        "print([name for name in ('bokeh',) if name in sys.modules])"
    )
    environment = os.environ | {"SECRET_KEY": "for-a-test", "DATABASE_URL": "sqlite:///:memory:"}
    command = [sys.executable, "-c", script]
    output = subprocess.run(command, cwd=PROJECT, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout

    assert output == "[]\n"
