"""import_ccbackend: users, running jobs, jobs that its archive lacks; again, and what is refused."""

from pathlib import Path

import pytest

from accounts.models import User
from jobs.archiving.worker import ArchiveWorker
from jobs.models import Job
from tests.support.ccbackend_database import BCRYPT, PASSWORD, RELEASES, START, CcBackendDatabase
from tests.support.commands import Run
from tests.support.foreign_archive import put_job


@pytest.fixture(params=RELEASES)
def theirs(request: pytest.FixtureRequest, tmp_path: Path) -> CcBackendDatabase:
    """Return an empty database of each release."""
    return CcBackendDatabase(tmp_path / "job.db", request.param)


def jobs() -> dict[int, tuple[str, int, int]]:
    """Return state, monitoring status and duration of each job."""
    rows = Job.objects.values_list("job_id", "job_state", "monitoring_status", "duration")
    return {job_id: (state, status, duration) for job_id, state, status, duration in rows}


@pytest.mark.usefixtures("adopted_passwords")
def test_users_come_with_roles_projects_and_passwords(theirs: CcBackendDatabase, run: Run) -> None:
    theirs.add_user("ada", "admin", "user", password=BCRYPT, name="Ada L.", email="ada@example.org")
    theirs.add_user("max", "manager", projects=b'["bio","chem"]', password="", ldap=1)
    theirs.add_user("hook", "api")

    outcome = run("import_ccbackend", theirs.path)

    assert outcome.status == 0, outcome.err
    assert outcome.out.startswith("3 users and 0 jobs imported")
    ada, manager = User.objects.get(username="ada"), User.objects.get(username="max")
    assert (ada.roles, ada.name, ada.email) == (["admin", "user"], "Ada L.", "ada@example.org")
    assert (manager.roles, manager.projects, manager.has_usable_password()) == (["manager"], ["bio", "chem"], False)
    assert not ada.check_password("wrong")
    assert not ada.check_password("x" * 100)  # longer than bcrypt reads
    assert ada.check_password(PASSWORD)
    ada.refresh_from_db()
    assert ada.password.startswith("md5$")  # hashed anew at the first log-in


def test_running_and_unarchived_jobs_come_and_the_worker_goes_on_with_them(
    theirs: CcBackendDatabase, run: Run, archive_root: Path
) -> None:
    theirs.add_tag(7, "perf", "bad")
    theirs.add_job(1, tags=(7,), resources='[{"hostname":"n01","hwthreads":[0,1]}]', meta_data=None)
    theirs.add_job(2, job_state="completed", duration=60)  # waits for its archiver
    theirs.add_job(3, job_state="failed", duration=60, monitoring_status=2)
    theirs.add_job(4, job_state="timeout", duration=60, monitoring_status=0)
    theirs.add_job(5, job_state="completed", duration=60, monitoring_status=3)
    if theirs.release == "1.5":
        theirs.add_job(6, table="job_cache", shared="multi_user")

    dry = run("import_ccbackend", theirs.path, "--dry-run")
    assert (dry.status, Job.objects.count(), "would be imported" in dry.out) == (0, 0, True)
    outcome = run("import_ccbackend", theirs.path)

    assert outcome.status == 0, outcome.err
    expected = {
        1: ("running", 1, 0), 2: ("completed", 1, 60), 3: ("failed", 2, 60), 4: ("timeout", 0, 60)
    }  # fmt: skip
    assert jobs() == expected | ({6: ("running", 1, 0)} if theirs.release == "1.5" else {})
    assert "1 job archived by cc-backend: import_jobs brings them." in outcome.err
    first = Job.objects.get(job_id=1)
    assert (first.user, first.partition, first.start_time, first.exclusive) == ("u1", "main", START + 1, 1)
    assert (first.nodes, first.metadata) == ([{"hostname": "n01", "hwthreads": [0, 1]}], {})
    assert [str(tag) for tag in first.tags.all()] == ["perf:bad"]
    ArchiveWorker().drain()
    assert Job.objects.get(job_id=2).is_archived


def test_again_it_goes_on_and_changes_nothing(theirs: CcBackendDatabase, run: Run) -> None:
    theirs.add_user("ada", "admin")
    theirs.add_job(1)
    assert run("import_ccbackend", theirs.path).status == 0
    Job.objects.filter(job_id=1).update(job_state="completed", duration=5)
    theirs.add_job(2)
    again = run("import_ccbackend", theirs.path)
    assert again.out.startswith(
        "0 users and 1 job imported (1 running, 0 waiting for the archive); here already: 1 user"
    )
    assert jobs() == {1: ("completed", 1, 5), 2: ("running", 1, 0)}


def test_jobs_that_its_archive_lacks_come_as_failed_ones(theirs: CcBackendDatabase, run: Run, tmp_path: Path) -> None:
    archive = tmp_path / "their-archive"
    there = put_job(archive, 1)
    there.rename(there.with_name(str(START + 1)))
    (archive / "c1").rename(archive / "emmy")
    for job_id in (1, 2):
        theirs.add_job(job_id, job_state="completed", duration=60, monitoring_status=3)
    outcome = run("import_ccbackend", theirs.path, "--archive", archive)
    assert outcome.status == 0, outcome.err
    assert jobs() == {2: ("completed", 2, 60)}


def test_what_cannot_be_taken_is_named_and_the_rest_is_imported(theirs: CcBackendDatabase, run: Run) -> None:
    theirs.add_user("a b", "user")
    theirs.add_user("eve", "admin", password="plain")
    theirs.add_user("bob", "anonymous")
    theirs.add_user("ada", "user")
    theirs.add_job(1, resources=b"[")
    theirs.add_job(2, cluster="../x")
    theirs.add_job(3, job_state="nonsense")
    theirs.add_job(4)
    outcome = run("import_ccbackend", theirs.path)
    assert outcome.status == 1
    assert {user.username for user in User.objects.all()} == {"ada"}
    assert jobs().keys() == {4}
    lines = [line for line in outcome.err.splitlines() if line.startswith("refused: ")]
    assert len(lines) == 6
    assert "plain" not in outcome.err


def test_what_is_no_database_of_cc_backend_is_refused(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    other.write_text("no database at all, but long enough to be read as one" * 20)
    for path in (tmp_path / "none.db", other):
        refused = run("import_ccbackend", path)
        assert (refused.status, str(path) in refused.err) == (2, True)
