"""An update of a running server: migrate beside the old code, then HUP; no call is lost, and all new code is used."""

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection

from tests.support.paths import PROJECT
from tests.support.server import Server
from tests.support.waiting import patience

pytestmark = pytest.mark.server

RATE = 20  # starts per second
LONGEST_GAP = 2.0  # seconds
START = 1_700_000_000
MARK = "\n__import__('pathlib').Path(__file__).with_name('loaded').touch()\n"


def git(folder: Path, *arguments: str) -> str:
    """Run git and return what it says."""
    command = ["git", "-c", "safe.directory=*", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def state_before() -> str:
    """Return the last tag, or else the newest commit that lacks some of the migrations of now and has no others.

    A branch may number its migrations in another way until it is merged.
    """
    try:
        if tags := git(PROJECT, "tag", "--merged", "HEAD", "--sort=-creatordate").split():
            return git(PROJECT, "rev-parse", tags[0])
        now = migrations_of("HEAD")
        commits = git(PROJECT, "log", "--format=%P", "--", "*/migrations/0*.py").split()
        return next(commit for commit in commits if migrations_of(commit) < now)
    except (subprocess.CalledProcessError, FileNotFoundError, StopIteration):
        pytest.skip("no earlier state here: this is no clone, or a shallow one")


def migrations_of(commit: str) -> set[str]:
    """Return the files of the migrations of a commit, of which there are some."""
    names = git(PROJECT, "ls-tree", "-r", "--name-only", commit, "jobs/migrations", "accounts/migrations").split()
    return {name for name in names if "/0" in name}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a clone of the project as it was before."""
    if connection.vendor != "postgresql":
        pytest.skip("updates without a pause are promised for PostgreSQL")
    before = state_before()
    git(PROJECT, "clone", "--quiet", "--shared", "--no-checkout", str(PROJECT), str(tmp_path / "clone"))
    git(tmp_path / "clone", "checkout", "--quiet", before)
    return tmp_path / "clone"


class Starts:
    """What became of each start, and when it was answered."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.answers: list[tuple[float, int | str]] = []
        self._finished = threading.Event()

    def call(self, number: int) -> None:
        """Start a job on a connection of its own, as a hook does."""
        client = self.server.client()
        try:
            status: int | str = client.start(jobId=number, startTime=START + number).status
        except Exception as error:
            status = repr(error)
        finally:
            client.close()
        self.answers.append((time.monotonic(), status))

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Let starts come at a steady rate, whether or not those before were answered."""
        threads: list[threading.Thread] = []

        def come() -> None:
            begin = time.monotonic()
            while not self._finished.wait(max(0, begin + len(threads) / RATE - time.monotonic())):
                threads.append(threading.Thread(target=self.call, args=(len(threads) + 1,)))
                threads[-1].start()

        clock = threading.Thread(target=come)
        clock.start()
        try:
            yield
        finally:
            self._finished.set()
            clock.join()
            for thread in threads:
                thread.join()

    def longest_gap(self) -> float:
        """Return the longest time without an answer (seconds)."""
        times = sorted(when for when, _ in self.answers)
        return max(later - earlier for earlier, later in itertools.pairwise(times))


def replace_processes(server: Server, starts: Starts) -> None:
    """Send HUP, and wait until new processes have answered for a while."""
    old = {process.pid for process in server.web_workers()}
    server.reload_web()
    server.wait_until(lambda: old.isdisjoint(process.pid for process in server.web_workers()))
    answered = len(starts.answers)
    server.wait_until(lambda: len(starts.answers) > answered + 2 * RATE)


def test_an_update_and_the_way_back_lose_no_start_and_pause_for_a_moment(clone: Path, tmp_path: Path) -> None:
    server = Server(tmp_path / "server", project=clone)
    try:
        server.prepare()
        server.start_web()
        starts = Starts(server)
        with starts.coming():
            server.wait_until(lambda: len(starts.answers) > RATE)
            before = git(clone, "rev-parse", "HEAD")
            git(clone, "checkout", "--quiet", git(PROJECT, "rev-parse", "HEAD"))
            worker = clone / "ccbackend" / "fastpath" / "worker.py"
            worker.write_text(worker.read_text() + MARK)
            migrated = server.manage("migrate", "-v", "0")
            assert migrated.returncode == 0, migrated.stderr
            replace_processes(server, starts)
            assert worker.with_name("loaded").exists()
            gap = starts.longest_gap()
            git(clone, "checkout", "--quiet", "--force", before)  # and back, with the tables as they are
            replace_processes(server, starts)
        assert {status for _, status in starts.answers} == {201}
        back = starts.longest_gap()
        sys.stdout.write(f"{len(starts.answers)} starts, longest gap {gap:.2f} s, on the way back {back:.2f} s\n")
        assert gap < LONGEST_GAP
        assert back < patience(LONGEST_GAP)  # where the older gunicorn.conf.py may end processes before others answer
        assert server.query("SELECT COUNT(*) FROM jobs_job") == [(len(starts.answers),)]
    finally:
        server.stop()
