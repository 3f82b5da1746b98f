"""gunicorn's settings, read by `gunicorn ccbackend.wsgi` from the project's root; see docs/deployment.md."""

import os

bind = os.environ.get("BIND", "127.0.0.1:8080")
workers = int(os.environ.get("WEB_CONCURRENCY", str(min(8, 2 * (os.cpu_count() or 1)))))
worker_class = "gthread"
threads = 4
keepalive = 75  # seconds
timeout = 600  # seconds: a long list or deletion must not reach it
graceful_timeout = 30
control_socket_disable = True


def post_worker_init(worker):
    import gc
    gc.collect(); gc.freeze(); gc.set_threshold(20000, 50, 100)
