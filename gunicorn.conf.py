"""gunicorn's settings, read by `gunicorn ccbackend.wsgi` from the project's root; docs/deployment.md explains them.

What is given on gunicorn's command line wins over this file.
"""

import gc
import os
from typing import Any

bind = "127.0.0.1:8080"
workers = int(os.environ.get("WEB_CONCURRENCY", str(os.cpu_count() or 1)))
worker_class = "ccbackend.fastpath.worker.Worker"
threads = 8  # for what may take long, beside the short calls that the main loop answers
keepalive = 75  # seconds; adapters keep their connection between the events of a burst
timeout = 600  # seconds; a long list or a large deletion must not reach it
graceful_timeout = 30  # seconds
limit_request_line = 8190  # bytes; a list with many filters
control_socket_disable = True


def post_worker_init(worker: Any) -> None:
    """Keep what a process has loaded before its first request: the garbage collector need not look at it again.

    gunicorn looks some twenty settings up per request, each by way of two functions; from here on they are attributes.
    """
    vars(worker.cfg).update({name: setting.get() for name, setting in worker.cfg.settings.items()})
    gc.collect()
    gc.freeze()
