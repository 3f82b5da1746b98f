"""What the processes that write jobs have loaded before each is forked; imported by their server alone."""

import django

django.setup(set_prefix=False)

import jobs.archiving.writing  # noqa: E402, F401  the apps are loaded only now
