#!/usr/bin/env python
"""Run the project's management commands."""

import signal
import sys

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell has it ignored
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a word

try:
    from ccbackend.__main__ import main
except ModuleNotFoundError as error:
    sys.exit(f"{sys.executable} has no {error.name}: call it as .venv/bin/python manage.py, see README.md")

if __name__ == "__main__":
    main()
