"""The project's commands: `manage.py` in a clone, `ccbackend` where it is installed."""

import io
import os
import signal
import sys

import django
from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line, load_command_class
from django.db import OperationalError

import ccbackend

_INTERRUPTED = 130  # as a shell has it


def main() -> None:
    """Run the command of the command line; what is wrong about the settings ends it with one sentence."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ccbackend.settings")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of users and files may not be in its encoding
    if sys.argv[1:] in (["--version"], ["version"]):
        print(f"ccbackend {ccbackend.__version__}, Django {django.get_version()}")  # noqa: T201
        return
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # set by manage.py, for as long as modules are imported
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if sys.argv[1:2] == ["setup"]:  # it writes the settings, without which no other command is found
            load_command_class("ccbackend", "setup").run_from_argv(sys.argv)
        else:
            execute_from_command_line(sys.argv)
    except KeyboardInterrupt:  # while apps were loaded; the commands of the project say what was done
        sys.stderr.write("Interrupted.\n")
        sys.exit(_INTERRUPTED)
    except ImproperlyConfigured as error:
        sys.exit(f"Configuration error: {error}")
    except OperationalError as error:  # Django's own commands; those of the project say more
        if "--traceback" in sys.argv:
            raise
        sys.exit(f"The database of DATABASE_URL cannot be used: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
