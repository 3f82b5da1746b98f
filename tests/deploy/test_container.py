"""deploy/Containerfile and compose.yaml, as far as can be seen without an engine, which the tests do not need."""

import json
import re
from typing import Any

import yaml
from django.core.management import get_commands

from tests.support.paths import PROJECT

CONTAINERFILE = (PROJECT / "deploy" / "Containerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "deploy" / "compose.yaml").read_text())


def test_the_image_has_each_package_and_all_that_the_server_reads() -> None:
    copied = {word for line in re.findall("^COPY (.*)$", CONTAINERFILE, re.MULTILINE) for word in line.split()[:-1]}
    assert all((PROJECT / word).exists() for word in copied)
    packages = {path.parent.name for path in PROJECT.glob("*/apps.py")}
    assert packages | {"templates", "manage.py", "gunicorn.conf.py", "requirements.lock"} <= copied


def test_the_server_is_not_root_and_is_asked_whether_it_lives() -> None:
    lines = CONTAINERFILE.splitlines()
    assert lines.index("USER ccbackend") < next(n for n, line in enumerate(lines) if line.startswith("CMD"))
    command = json.loads(re.findall(r"^  CMD (\[.*\])$", CONTAINERFILE, re.MULTILINE)[0])
    compile(command[2], "health check", "exec")
    assert "/healthz" in command[2]


def test_each_service_runs_commands_that_exist_with_the_same_settings() -> None:
    services = COMPOSE["services"]
    for name, command in (("server", "migrate"), ("worker", "archive_worker")):
        assert f"python manage.py {command}" in " ".join(services[name]["command"])
        assert command in get_commands()
        assert services[name]["environment"] == services["server"]["environment"]
        assert services[name]["volumes"] == ["archive:/srv/job-archive"]
    assert COMPOSE["volumes"].keys() == {"database", "archive"}


def test_the_server_serves_as_without_compose_once_the_tables_are_made() -> None:
    *_, alone = [json.loads(command) for command in re.findall(r"^CMD (\[.*\])$", CONTAINERFILE, re.MULTILINE)]
    shell, option, line = COMPOSE["services"]["server"]["command"]
    assert (shell, option) == ("sh", "-c")
    assert line == f"python manage.py migrate && exec {' '.join(alone)}"


def test_nothing_depends_on_a_service_that_ends() -> None:
    """podman starts no container that needs one which has ended."""
    services = COMPOSE["services"]
    assert all(service["restart"] == "unless-stopped" for service in services.values())
    assert "service_completed_successfully" not in str(COMPOSE)


def test_secrets_have_no_default() -> None:
    text = (PROJECT / "deploy" / "compose.yaml").read_text()
    assert set(re.findall(r"\$\{(SECRET_KEY|POSTGRES_PASSWORD)([^}]*)\}", text)) == {
        ("SECRET_KEY", ":?"),
        ("POSTGRES_PASSWORD", ":?"),
    }
