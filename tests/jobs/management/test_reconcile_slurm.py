"""reconcile_jobs against a real Slurm: munged, slurmctld and slurmd of this machine on loopback, with one job.

It takes some seconds, since a scheduler decides on its own when a job begins.
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.models import Job
from tests.support.commands import Run
from tests.support.factories import JobFactory
from tests.support.waiting import wait_for

PROGRAMS = ("munged", "slurmctld", "slurmd", "squeue", "sbatch", "scancel")
PATHS = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
MISSING = [name for name in PROGRAMS if shutil.which(name, path=PATHS) is None]

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"no Slurm here: {', '.join(MISSING)} missing (Debian: slurm-wlm)"),
    pytest.mark.skipif(os.geteuid() != 0, reason="slurmd starts jobs as root only"),
    pytest.mark.django_db,
]

CONF = """
ClusterName=tiny
SlurmctldHost=localhost(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={folder}/munge.sock
SlurmctldPort={ctl}
SlurmdPort={node}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
NodeName=n01 NodeAddr=127.0.0.1 NodeHostname=localhost CPUs=1 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run a Slurm with the node n01."""
    monkeypatch.setenv("PATH", PATHS)
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    ctl, node = free_ports(2)
    conf = CONF.format(user=getpass.getuser(), folder=tmp_path, ctl=ctl, node=node)
    (tmp_path / "slurm.conf").write_text(conf)
    (tmp_path / "munge.key").write_bytes(os.urandom(1024))
    (tmp_path / "munge.key").chmod(0o600)
    for name in ("state", "spool"):
        (tmp_path / name).mkdir()
    files = {"key-file": "munge.key", "pid-file": "munged.pid", "log-file": "munged.log", "seed-file": "munge.seed"}
    options = [f"--{name}={tmp_path / file}" for name, file in (files | {"socket": "munge.sock"}).items()]
    try:
        for command in (["munged", "--force", *options], ["slurmctld"], ["slurmd", "-N", "n01"]):
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
            assert done.returncode == 0, (command, done.stderr)
        yield
    finally:
        subprocess.run(["scancel", "--user", getpass.getuser()], capture_output=True, check=False, timeout=60)
        for name in ("slurmd", "slurmctld", "munged"):
            if (pid := tmp_path / f"{name}.pid").exists():
                os.kill(int(pid.read_text()), signal.SIGTERM)


def submit() -> int:
    """Submit a job and return its id."""
    command = ["sbatch", "--parsable", "--time=10", "--output=/dev/null", "--wrap=sleep 600"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


def state_of(job_id: int) -> str:
    """Return the state of a job in Slurm's word."""
    command = ["squeue", "--noheader", "--format=%T", "--states=all", f"--jobs={job_id}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout.strip()


@pytest.mark.usefixtures("slurm", "cluster")
def test_a_job_of_a_real_slurm_is_started_and_stopped_as_slurm_has_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.reconcile.compare.MARGIN", 0)
    ghost = JobFactory.create(job_id=4711)
    job_id = submit()
    wait_for(lambda: state_of(job_id) == "RUNNING", 60)

    outcome = run("reconcile_jobs", "--cluster", "testcluster", "--squeue", "--start-missing", "--yes")

    assert "1 job stopped, 1 started, 0 refused." in outcome.lines, (outcome, state_of(job_id))
    ghost.refresh_from_db()
    assert (ghost.job_state, ghost.duration) == ("failed", ghost.walltime)
    job = Job.objects.get(job_id=job_id)
    assert (job.is_running, job.walltime, job.user, job.partition) == (True, 600, getpass.getuser(), "main")
    assert job.nodes == [{"hostname": "n01"}]

    subprocess.run(["scancel", str(job_id)], check=True, timeout=60)
    wait_for(lambda: state_of(job_id) == "CANCELLED", 60)
    outcome = run("reconcile_jobs", "--cluster", "testcluster", "--squeue", "--allow-empty", "--yes")

    assert "1 job stopped, 0 started, 0 refused." in outcome.lines, outcome
    job.refresh_from_db()
    assert job.job_state == "cancelled"
    assert "(by the scheduler's accounting)" in "\n".join(outcome.lines)
