#!/usr/bin/env python
"""Run the project's management commands."""

import sys

try:
    from ccbackend.__main__ import main
except ModuleNotFoundError as error:
    sys.exit(f"{sys.executable} has no {error.name}: call it as .venv/bin/python manage.py, see README.md")

if __name__ == "__main__":
    main()
