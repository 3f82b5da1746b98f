"""Run the tests on SQLite and on PostgreSQL side by side: `python -m tests.both [PYTEST ARGUMENT ...]`.

Much of a test's time is waiting. Tests whose subject is no database, or has SQLite of its own, run once, on the side
where both end together; so do those that drive a browser, on SQLite: what pages read has tests of its own.
Each line is printed when it is complete, behind the name of its database; the last lines of both are repeated at the
end.

Beside each other they keep two CPUs more than busy, and some tests have limits of time. So what failed is run again
alone, at the end, and only what fails then counts. Exit status 1 if one of the two failed.
"""

import os
import signal
import subprocess
import sys
import threading

import pytest

_PYTEST = [sys.executable, "-u", "-m", "pytest"]
_ONCE = (
    "archive",
    "ccbackend/test_static_files.py",
    "deploy",
    "jobs/management/test_retain_archive_kills.py",
    "jobs/management/test_run_demo.py",
    "test_architecture.py",
    "test_docs.py",
    "test_makefile.py",
    "test_requirements.py",
)
_ONCE_BESIDE_SQLITE = (
    "accounts/log_in/test_packages.py",
    "ccbackend/management/test_serve.py",
    "ccbackend/test_environment.py",
    "ccbackend/test_manage.py",
    "ccbackend/test_settings.py",
    "ccbackend/test_wsgi_processes.py",
    "test_every_command.py",
    "test_wheel.py",
)


def _without(names: tuple[str, ...]) -> list[str]:
    return [f"--ignore=tests/{name}" for name in names]


RUNS = {
    "SQLite": [*_PYTEST, "-o", "cache_dir=.pytest_cache/sqlite", *_without(_ONCE)],
    "PostgreSQL": [
        *(sys.executable, "-m", "tests.with_postgres"),
        *(*_PYTEST, "-o", "cache_dir=.pytest_cache/postgres", "-m", "not browser", *_without(_ONCE_BESIDE_SQLITE)),
    ],
}


def main(arguments: list[str]) -> int:
    """Start both, pass on what they print, and return the exit status."""
    last: dict[str, str] = {}

    def follow(name: str, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            last[name] = line
            sys.stdout.write(f"{name:<10} | {line}")
            sys.stdout.flush()

    def stop(*_: object) -> None:
        for process in processes.values():
            process.terminate()

    # Tests start some hundred processes: each would compile the application anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    signal.signal(signal.SIGINT, lambda *_: None)  # the runs get it too, and end by themselves
    processes = {
        name: subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        for name, command in RUNS.items()
    }
    signal.signal(signal.SIGTERM, stop)
    threads = [threading.Thread(target=follow, args=run) for run in processes.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = {name: process.wait() for name, process in processes.items()}
    for name, line in last.items():
        sys.stdout.write(f"\n{name}: {line.strip().strip('= ')}")
    sys.stdout.write("\n")
    final = [_final(name, status, arguments) for name, status in statuses.items()]
    nothing = pytest.ExitCode.NO_TESTS_COLLECTED
    return int(all(status == nothing for status in final) or not {*final} <= {pytest.ExitCode.OK, nothing})


def _final(name: str, status: int, arguments: list[str]) -> int:
    """Return the exit status of a run (pytest's), after what failed in it was run again, up to a second failure."""
    if status != pytest.ExitCode.TESTS_FAILED:
        return status
    sys.stdout.write(f"\n{name}: what failed is run again\n")
    sys.stdout.flush()
    return subprocess.run([*RUNS[name], *arguments, "--last-failed", "--exitfirst", "-rA"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
