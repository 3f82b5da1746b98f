"""The WSGI application that gunicorn serves."""

import os

from ccbackend.fastpath import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ccbackend.settings")

application = get_wsgi_application()
