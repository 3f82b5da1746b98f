"""The programs of docs/cookbook.md, against a real server; and the complete file of docs/cluster-json.md."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive.format.cluster_json import decode_cluster
from tests.support.paths import PROJECT
from tests.support.server import Server, running_server

PROGRAMS = {"sh": ["sh", "-eu"], "python": [sys.executable], "go": ["go", "run"]}
JOBS = {"sh": 4711, "python": 4712, "go": 4713}


def code(page: str, language: str) -> str:
    """Return the first piece of code of a language on a page."""
    found = re.search(rf"```{language}\n(.*?)```", (PROJECT / "docs" / page).read_text(), re.DOTALL)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server for all programs."""
    with running_server(tmp_path_factory.mktemp("server") / "server", workers=1) as started:
        yield started


@pytest.mark.server
@pytest.mark.parametrize("language", PROGRAMS)
def test_a_program_of_the_cookbook_starts_stops_and_tags_a_job(language: str, server: Server, tmp_path: Path) -> None:
    if not shutil.which(PROGRAMS[language][0]) or (language == "sh" and not shutil.which("jq")):
        pytest.skip(f"no {PROGRAMS[language][0]} or no jq here")
    program = tmp_path / f"program.{language.replace('python', 'py')}"
    program.write_text(code("cookbook.md", language))
    settings = {"URL": f"http://127.0.0.1:{server.port}", "TOKEN": server.tokens["bench"]}
    command = [*PROGRAMS[language], str(program)]
    outcome = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    (job,) = server.client().get(f"/api/jobs/?job-id={JOBS[language]}").json["jobs"]
    assert (job["jobState"], [tag["name"] for tag in job["tags"]]) == ("completed", ["bad"])


def test_the_complete_cluster_json_has_no_faults() -> None:
    cluster = decode_cluster(code("cluster-json.md", "json").encode())
    assert (cluster.name, cluster.faults) == ("fritz", ())
    gpu = cluster.subcluster_of("g03")
    assert gpu is not None
    assert gpu.topology.core == ((0, 2), (1, 3))
