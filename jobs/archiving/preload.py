"""Preload the code of the processes that write jobs, before each is forked; only their fork server does."""

import django

django.setup(set_prefix=False)

import jobs.archiving.writing  # noqa: E402, F401  the apps are loaded only now
