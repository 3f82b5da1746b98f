"""The WSGI application that gunicorn serves."""

import os

import django
from django.core.exceptions import ImproperlyConfigured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ccbackend.settings")
django.setup(set_prefix=False)

from ccbackend.fastpath.handler import Application, import_everything  # noqa: E402  the apps are loaded only now
from jobs.checks import archive_problem  # noqa: E402

application = Application()
import_everything()

if _problem := archive_problem():
    raise ImproperlyConfigured(_problem)
