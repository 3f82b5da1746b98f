"""A faster handler, which FAST_PATH switches off, and a faster worker, which gunicorn's --worker-class replaces."""

from collections.abc import Callable
from typing import Any, cast

import django
from django.utils.module_loading import import_string


def get_wsgi_application() -> Callable[..., Any]:
    """Set up Django and return the WSGI application, as django.core.wsgi does."""
    django.setup(set_prefix=False)
    get_application = import_string("ccbackend.fastpath.handler.get_application")  # it needs the apps
    return cast("Callable[..., Any]", get_application())
