"""Preload the code of the processes of rebuilds and imports, before each is forked; only their fork server does."""

import django

django.setup(set_prefix=False)

import jobs.maintenance.import_files  # noqa: E402  the apps are loaded only now
import jobs.maintenance.rebuild  # noqa: E402, F401
