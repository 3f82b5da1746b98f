"""The WSGI application that gunicorn serves."""

import os

from django.core.exceptions import ImproperlyConfigured
from gunicorn.errors import AppImportError

from ccbackend.fastpath import get_wsgi_application


class CannotStartError(AppImportError, ImproperlyConfigured):  # type: ignore[misc]  # gunicorn has no types
    """The settings or what they name cannot be used. gunicorn prints an AppImportError as a sentence, and ends."""


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ccbackend.settings")

try:
    application = get_wsgi_application()
except ImproperlyConfigured as error:
    raise CannotStartError(f"Configuration error: {error}") from None
