"""What the processes of a rebuild or an import have loaded before each is forked; imported by their server alone."""

import django

django.setup(set_prefix=False)

import jobs.maintenance.import_files  # noqa: E402  the apps are loaded only now
import jobs.maintenance.rebuild  # noqa: E402, F401
