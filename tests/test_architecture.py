"""Imports run one way: ccbackend -> jobs -> {accounts, archive}; and they stand at the top of a file."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import PROJECT

MAY_IMPORT = {
    "ccbackend": {"ccbackend", "jobs", "accounts", "archive"},
    "jobs": {"jobs", "accounts", "archive"},
    "accounts": {"accounts"},
    "archive": {"archive"},
}
FILES = sorted(path.relative_to(PROJECT) for app in MAY_IMPORT for path in (PROJECT / app).rglob("*.py"))


def imported(tree: ast.AST, path: Path) -> Iterator[tuple[str, int]]:
    """Yield each imported module with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            folder = ".".join(path.parent.parts[: len(path.parent.parts) - node.level + 1]) if node.level else ""
            yield ".".join(part for part in (folder, node.module or "") if part), node.lineno


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


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_run_one_way(path: Path) -> None:
    tree = ast.parse((PROJECT / path).read_text())
    ours = set(MAY_IMPORT)
    wrong = [
        f"{path}:{line} imports {module}"
        for module, line in imported(tree, path)
        if (top := module.partition(".")[0]) in ours and top not in MAY_IMPORT[path.parts[0]]
    ]
    assert wrong == []


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_import_stands_inside_a_function(path: Path) -> None:
    tree = ast.parse((PROJECT / path).read_text())
    assert [f"{path}:{line}" for line in inside_functions(tree, path)] == []


def test_the_application_never_imports_its_tests() -> None:
    for path in FILES:
        modules = {module.partition(".")[0] for module, _ in imported(ast.parse((PROJECT / path).read_text()), path)}
        assert "tests" not in modules, path


def test_this_test_sees_what_it_looks_for() -> None:
    source = "import jobs.models\nfrom accounts import x\nfrom . import y\ndef f():\n    import z\n"
    tree, path = ast.parse(source), Path("archive/sources/base.py")
    assert [module for module, _ in imported(tree, path)][:3] == ["jobs.models", "accounts", "archive.sources"]
    assert list(inside_functions(tree, path)) == [5]


def test_the_server_and_the_worker_load_no_compiler_and_no_plotting_library() -> None:
    """numba (check_archive) and Bokeh's Python part take a second and much memory; neither is of use to them."""
    script = (
        "import sys, ccbackend.wsgi, jobs.worker, jobs.admin;"
        "print([name for name in ('numba', 'llvmlite', 'bokeh') if name in sys.modules])"
    )
    environment = os.environ | {"SECRET_KEY": "for-a-test", "DATABASE_URL": "sqlite:///:memory:"}
    command = [sys.executable, "-c", script]
    output = subprocess.run(command, cwd=PROJECT, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout

    assert output == "[]\n"
