"""import_ccbackend from dumps of MySQL, and how their statements are read.

tests/data/cc-backend-*-mariadb.sql were written by mariadb-dump of MariaDB 10.11 (Debian 12), the second with
--skip-extended-insert --complete-insert --hex-blob. Tables and columns are those that the migrations for MySQL of these
releases make, without indexes; the rows are made up, with characters that a dump escapes.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from jobs.maintenance.mysql_dump import is_dump, load_dump
from jobs.models import Job
from tests.support.ccbackend_database import PASSWORD, START
from tests.support.commands import Run
from tests.support.paths import DATA

DUMPS = sorted(DATA.glob("cc-backend-*-mariadb.sql"))
SCRIPT = "#!/bin/bash\n# it's a \"test\": C:\\n, 100 %_ ü 🦉\n');\nINSERT INTO `job` VALUES (1);\n\x1a"


@pytest.mark.usefixtures("adopted_passwords", "archive_root")
@pytest.mark.parametrize("dump", DUMPS, ids=lambda path: path.stem)
def test_a_dump_of_mysql_brings_users_and_jobs(dump: Path, run: Run) -> None:
    outcome = run("import_ccbackend", dump)

    assert outcome.status == 0, outcome.err
    assert outcome.out.startswith("2 users and 3 jobs imported (1 running, 1 waiting for the archive)")
    assert "1 job archived by cc-backend" in outcome.err
    ada, manager = User.objects.get(username="ada"), User.objects.get(username="max")
    assert (ada.name, ada.roles, ada.check_password(PASSWORD)) == ("Ada 'A.' \\ \"L\" ü", ["admin", "user"], True)
    assert (manager.projects, manager.has_usable_password()) == (["bio", "chem"], False)
    first = Job.objects.get(job_id=1)
    assert (first.user, first.partition, first.start_time, first.job_state) == ("u1", "main", START + 1, "running")
    assert first.metadata == {"jobName": "it's", "jobScript": SCRIPT}
    assert first.nodes == [{"hostname": "n01", "hwthreads": [0, 1]}]
    assert [str(tag) for tag in first.tags.all()] == ["perf:bad; (really)"]
    assert run("import_ccbackend", dump).out.startswith("0 users and 0 jobs imported")


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], sqlite3.Connection]:
    """Return a function that loads the table t of a dump, which has the columns id and x."""

    def load(inserts: str) -> sqlite3.Connection:
        path = tmp_path / "dump.sql"
        path.write_bytes(
            f"-- a dump\nCREATE TABLE `t` (\n  `id` int,\n  `x` text DEFAULT ')'\n);\n{inserts}\n".encode()
        )
        assert is_dump(path)
        return load_dump(path, ["t"])

    return load


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("NULL", None),
        ("-12", -12),
        ("0.25", 0.25),
        ("-1e-07", -1e-07),
        ("''", ""),
        (r"'it\'s ''x'' \\n \0\Z\t\n\"'", "it's 'x' \\n \0\x1a\t\n\""),
        ("_binary 'ab'", "ab"),
        ("0x616263", "abc"),
        ("0xFF", b"\xff"),
        ("'),(2,'", "),(2,"),
    ],
)
def test_each_kind_of_value_is_read(load: Callable[[str], sqlite3.Connection], written: str, meant: Any) -> None:
    statement = f"INSERT INTO `t` VALUES (1,{written}),\n(2,'end');"
    with load(statement) as found:
        assert found.execute("SELECT * FROM t").fetchall() == [(1, meant), (2, "end")]


@pytest.mark.parametrize(
    "inserts",
    [
        "INSERT INTO `t` VALUES (1,'a'",
        "INSERT INTO `t` VALUES (1,'a')",
        "INSERT INTO `t` VALUES (1,'a',3);",
        "INSERT INTO `t` VALUES (1);",
        "INSERT INTO `t` VALUES (1,now());",
        "INSERT INTO `t` VALUES (1,'a\\');",
        "INSERT INTO `t` SET x = 1;",
        "INSERT INTO `t` VALUES ;",
    ],
)
def test_a_statement_that_is_cut_off_or_of_another_form_is_refused_by_its_place(
    load: Callable[[str], sqlite3.Connection], inserts: str
) -> None:
    with pytest.raises(ValueError, match=r"^byte \d+: "):
        load(inserts)


def test_a_dump_that_is_cut_off_between_statements_imports_nothing(run: Run, tmp_path: Path) -> None:
    cut = tmp_path / "cut.sql"
    content = DUMPS[0].read_bytes()
    cut.write_bytes(content[: content.index(b"UNLOCK TABLES;\n", content.index(b"INSERT INTO `job`"))])
    refused = run("import_ccbackend", cut)
    assert (refused.status, "the dump was cut off" in refused.err) == (2, True)
    assert not User.objects.filter(username="ada").exists()


def test_a_dump_of_something_else_is_refused(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other.sql"
    other.write_text("-- a dump\nCREATE TABLE `t` (\n  `id` int\n);\n")
    refused = run("import_ccbackend", other)
    assert refused.status == 2
    assert "has no table job, jobtag, tag" in refused.err
