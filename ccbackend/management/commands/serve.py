"""Serve HTTP, by gunicorn with the settings that the project has for it."""

import os
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from accounts.console import ServerCommand
from ccbackend.reading import RESOURCES, names_from_file


class Command(ServerCommand):
    """Become gunicorn."""

    help = (
        "Serve HTTP: this process becomes gunicorn with the gunicorn.conf.py of the project. The environment variables "
        "GUNICORN_CMD_ARGS and WEB_CONCURRENCY have further options."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the address."""
        parser.add_argument(
            "--bind",
            metavar="ADDRESS",
            default="127.0.0.1:8080",
            help="HOST:PORT or unix:PATH to serve on; by default 127.0.0.1:8080.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Replace this process, so that signals and systemd reach gunicorn itself."""
        application = settings.WSGI_APPLICATION.removesuffix(".application")
        config = str(RESOURCES / "gunicorn.conf.py")
        command = [sys.executable, "-m", "gunicorn", "--config", config, application, "--bind", options["bind"]]
        # Without the settings of the file, so that a HUP reads it anew.
        environment = {name: value for name, value in os.environ.items() if name not in names_from_file}
        os.execve(sys.executable, command, environment)  # noqa: S606  no shell is wanted
