"""What holds for all commands of the project."""

import importlib

import pytest
from django.core.management import BaseCommand, load_command_class

from tests.support.paths import PROJECT

COMMANDS = {
    path.stem: path.relative_to(PROJECT).parts[0]
    for path in sorted(PROJECT.glob("*/management/commands/*.py"))
    if not path.stem.startswith("_")
}


def load(name: str) -> BaseCommand:
    """Return a command by name."""
    return load_command_class(COMMANDS[name], name)


def test_the_commands_are_found() -> None:
    assert {"create_user", "import_jobs"} <= COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_test_file(name: str) -> None:
    module = importlib.import_module(f"tests.{COMMANDS[name]}.management.test_{name}")
    assert any(attribute.startswith("test_") for attribute in dir(module))


@pytest.mark.parametrize("name", COMMANDS)
def test_each_option_is_explained(name: str) -> None:
    command = load(name)
    assert len(command.help) > 40
    parser = command.create_parser("manage.py", name)
    unexplained = [action.dest for action in parser._actions if not action.help]
    assert not unexplained
    assert command.help.split()[0] in parser.format_help()


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_and_option_is_documented(name: str) -> None:
    pages = "\n".join(path.read_text() for path in sorted((PROJECT / "docs").glob("commands*.md")))
    section = pages.partition(f"## {name}\n")[2].partition("\n## ")[0]
    assert section, f"docs/commands*.md have no section for {name}"
    common = {option for action in BaseCommand().create_parser("", "")._actions for option in action.option_strings}
    own = {option for action in load(name).create_parser("", name)._actions for option in action.option_strings}
    missing = [option for option in own - common if option not in section]
    assert not missing
    assert f"manage.py {name}" in section
