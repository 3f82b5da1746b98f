"""Settings: read once from the environment and `.env`; every name is documented in docs/configuration.md."""

import hashlib
import logging
import os
import re
import socket
import zoneinfo
from importlib.metadata import version
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from ccbackend import __version__, logs
from ccbackend.environment import parse_database_url, parse_json, parse_links, parse_mail_url
from ccbackend.reading import (
    BASE_DIR,
    CODE_DIR,
    RESOURCES,
    TESTING,
    load_env_file,
    private_folder,
    read_flag,
    read_json,
    read_mode,
    read_numbers,
    read_parsed,
    read_path,
    read_text,
    read_whole,
    read_words,
)

VERSION = __version__

load_env_file()
from ccbackend.log_in_settings import *  # noqa: E402, F403  what it reads may be in that file
from ccbackend.log_in_settings import REMOTE_USER_HEADER  # noqa: E402


def _is_slurmrestd(entry: dict[str, str]) -> bool:
    has_texts = all(isinstance(text, str) for text in entry.values())
    return has_texts and entry["url"].startswith(("http://", "https://")) and entry.keys() <= {"url", "user", "token"}


DEBUG = read_flag("DEBUG")

SECRET_KEY = read_text("SECRET_KEY", "")
if not SECRET_KEY:
    if not (DEBUG or TESTING):
        file = os.environ["ENV_FILE"]
        raise ImproperlyConfigured(f"SECRET_KEY is not set: put a long random text into the environment or {file}")
    SECRET_KEY = "only-for-tests-and-debugging"  # noqa: S105  the branch above keeps it out of production

ALLOWED_HOSTS = read_words(
    "ALLOWED_HOSTS",
    "localhost,127.0.0.1",
    r"\*|\.?[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.?|\[[0-9A-Fa-f:.]+\]",
    "names such as jobs.example.org, .example.org for all below it, or addresses such as 192.0.2.1 or [2001:db8::1], "
    "or *, without https://, port or path",
)
CSRF_TRUSTED_ORIGINS = read_words(
    "CSRF_TRUSTED_ORIGINS",
    "",
    r"https?://(?:(?:\*\.)?[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?",
    "https://NAME or https://NAME:PORT, without a path or a slash at the end",
)
BEHIND_TLS_PROXY = read_flag("BEHIND_TLS_PROXY")
if BEHIND_TLS_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 31_536_000
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "style-src": ["'self'", "'unsafe-inline'"],  # Bokeh and Swagger UI make style sheets as they draw
        "img-src": ["'self'", "data:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}
SECURE_REFERRER_POLICY = "same-origin"  # not stricter: behind TLS the check of forms needs the header

# What `check --deploy` asks for and the proxy decides: redirects to HTTPS, and what holds for other hosts.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W008", "security.W021"] if BEHIND_TLS_PROXY else []
SILENCED_SYSTEM_CHECKS += ["axes.W002"]  # the log-in form says that a name is locked, not axes's middleware

INSTALLED_APPS = [
    "accounts",
    "archive",
    "jobs",
    "axes",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "whitenoise.runserver_nostatic",
    "ccbackend.apps.ProjectConfig",
    "ccbackend.apps.SiteConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "ccbackend.compression.PackedAnswers",
    "csp.middleware.CSPMiddleware",
    "ccbackend.middleware.PermissionsPolicy",
    "ccbackend.middleware.CleanAddress",
    "ccbackend.static_files.StaticFiles",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    *(["accounts.log_in.proxy.ProxyLogIn"] if REMOTE_USER_HEADER else []),
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "ccbackend.middleware.KeepSession",
    "ccbackend.middleware.ViewerZone",
]

ROOT_URLCONF = "ccbackend.urls"
WSGI_APPLICATION = "ccbackend.wsgi.application"
FAST_PATH = read_flag("FAST_PATH", default="true")
# gunicorn reads it from the environment, but does not name it where it cannot be.
SERVER_PROCESSES = read_whole("WEB_CONCURRENCY", os.cpu_count() or 1, minimum=1, maximum=1000)
CONNECTIONS_PER_PROCESS = 16  # at most: of the main loop, the counts, and the threads of ccbackend.fastpath.guarded
APPEND_SLASH = False  # a redirect turns a POST into a GET; the API answers with and without the slash
DATA_UPLOAD_MAX_MEMORY_SIZE = 32 * 1024 * 1024  # bytes: job scripts of several MB are normal
FILE_UPLOAD_HANDLERS = ["ccbackend.uploads.NoUploads"]
DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_000  # a selection of many jobs in the admin

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [RESOURCES / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# Seconds that concurrent writers wait for the database at most; then the API answers 503.
DATABASE_WAIT = 20
# The context manager in which a statement fails at once instead of waiting, for work that can be skipped.
DATABASE_WITHOUT_WAITING = "ccbackend.waiting.without_waiting"
# The function that returns the configured clusters.
CLUSTER_REGISTRY = "archive.root.registry"


def _database() -> dict[str, Any]:
    """Add the options to DATABASE_URL with which concurrent writers wait instead of failing, for either engine."""
    config: dict[str, Any] = read_parsed("DATABASE_URL", "sqlite:///var/ccbackend.sqlite3", parse_database_url)
    config["CONN_MAX_AGE"] = None  # reconnecting for each request costs several times the request
    options: dict[str, Any] = config["OPTIONS"]
    if config["ENGINE"] == "django.db.backends.sqlite3":
        if config["NAME"] != ":memory:":
            config["NAME"] = path = BASE_DIR / config["NAME"]
            try:
                private_folder(path.parent)
            except OSError as error:
                raise ImproperlyConfigured(f"DATABASE_URL: the database's folder cannot be made: {error}") from None
            if path.is_dir():
                raise ImproperlyConfigured(f"DATABASE_URL: expected the path of a file, but {path} is a folder")
        config["ENGINE"] = "ccbackend.sqlite"
        options.setdefault("transaction_mode", "IMMEDIATE")
        options.setdefault("timeout", DATABASE_WAIT)
        # WAL lets readers go on while one process writes. NORMAL survives a killed process; after a power cut the last
        # commits may be lost, see docs/deployment.md. The archive worker moves the log into the database file
        # (checkpoint) each second, so that a request hardly ever has to, which takes up to 0.5 s. ccbackend.sqlite
        # implements the waiting, hence no busy timeout.
        options.setdefault(
            "init_command",
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=10000;"
            "PRAGMA cache_size=-65536; PRAGMA mmap_size=268435456; PRAGMA busy_timeout=0",
        )
    else:
        config["ENGINE"] = "ccbackend.postgresql"
        config["CONN_HEALTH_CHECKS"] = True  # a restarted database costs no request
        config["DISABLE_SERVER_SIDE_CURSORS"] = True  # which outlive a transaction, and so a pooler's connection
        options.setdefault("connect_timeout", DATABASE_WAIT)
        options["server_side_binding"] = True  # values go beside a statement, so that large ones are not quoted
        if "prepare_threshold" in options:
            options["prepare_threshold"] = _prepare_threshold(str(options["prepare_threshold"]))
    return config


def _prepare_threshold(text: str) -> int | None:
    """Return after how many uses a statement is prepared; None, written "none", for never."""
    if text.lower() == "none":
        return None
    if not text.isdecimal():
        raise ImproperlyConfigured("DATABASE_URL: prepare_threshold: expected a number, or none to prepare nothing")
    return int(text)


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DEFAULT_EXCEPTION_REPORTER_FILTER = "ccbackend.errors.HiddenSettings"
CSRF_FAILURE_VIEW = "ccbackend.errors.csrf_failure"

API_ALLOWED_IPS = read_words("API_ALLOWED_IPS", "127.0.0.1,::1")
TRUSTED_PROXIES = read_words("TRUSTED_PROXIES")
METRIC_STORE_IPS = read_words("METRIC_STORE_IPS", "127.0.0.1,::1")
MONITORING_ALLOWED_IPS = read_words("MONITORING_ALLOWED_IPS", "127.0.0.1,::1")

_ADDRESS = r"[^@\s<>]+@[^@\s<>]+"
ADMINS = [("", address) for address in read_words("ADMINS", "", _ADDRESS, "addresses such as ops@example.org")]
DIGEST_TO = read_words("DIGEST_TO", "", _ADDRESS, "addresses such as staff@example.org")
_mail = read_parsed("EMAIL_URL", "smtp://localhost:25", parse_mail_url)
JOB_LINKS = read_parsed("JOB_LINKS", "[]", parse_links)
EMAIL_HOST, EMAIL_PORT = _mail["host"], _mail["port"]
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _mail["user"], _mail["password"]
EMAIL_USE_TLS, EMAIL_USE_SSL = _mail["how"] == "+tls", _mail["how"] == "+ssl"
EMAIL_TIMEOUT = 30  # seconds
EMAIL_SUBJECT_PREFIX = "[ccbackend] "
SERVER_EMAIL = read_text("EMAIL_FROM", f"ccbackend@{socket.gethostname()}")
if not re.fullmatch(_ADDRESS, SERVER_EMAIL):
    raise ImproperlyConfigured(f"EMAIL_FROM={SERVER_EMAIL!r}: expected an address such as ops@example.org")
MAILED_STATE = BASE_DIR / "var" / "mailed-state.json"  # what the last mail of `doctor --mail` said

ARCHIVE_ROOT = read_path("ARCHIVE_ROOT", "var/job-archive")
ARCHIVE_MODE = read_mode("ARCHIVE_MODE", "0600")
METRIC_SOURCES: dict[str, Any] = read_parsed("METRIC_SOURCES", '{"*": {"kind": "none"}}', parse_json)
METRIC_BLANKS = read_numbers("METRIC_BLANKS", "2147483632,140737488355328,14073748835532800,9223372036854775792")
FOOTPRINT_METRICS = read_words("FOOTPRINT_METRICS")
METRIC_TIMEOUT = read_whole("METRIC_TIMEOUT", 30, minimum=1, maximum=86_400)  # seconds
ARCHIVE_MAX_JSON = read_whole("ARCHIVE_MAX_JSON", 2_000_000_000, minimum=1, maximum=2**40)  # bytes
DUPLICATE_START_WINDOW = read_whole("DUPLICATE_START_WINDOW", 60, minimum=0)  # seconds
SLURMRESTD: dict[str, dict[str, str]] = read_json(
    "SLURMRESTD",
    "{}",
    _is_slurmrestd,
    '{"CLUSTER": {"url": "http://HOST:6820/slurm/v0.0.40/jobs", "user": "NAME", "token": "JWT"}}',
)
INTAKE_LOG_DAYS = read_whole("INTAKE_LOG_DAYS", 14, minimum=1, maximum=3650)
NODE_HISTORY_DAYS = read_whole("NODE_HISTORY_DAYS", 365, minimum=1, maximum=3650)

TIME_ZONE = read_text("TIME_ZONE", "UTC")
try:
    zoneinfo.ZoneInfo(TIME_ZONE)
    if Path("/usr/share/zoneinfo").exists():  # there Django looks too
        Path("/usr/share/zoneinfo", TIME_ZONE).stat()
except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
    raise ImproperlyConfigured(f"TIME_ZONE={TIME_ZONE!r}: expected a name such as Europe/Berlin or UTC") from None
USE_I18N = False
FORMAT_MODULE_PATH = "ccbackend.formats"

STATIC_PACKAGES = ("bokeh", "django", "djangorestframework", "drf-spectacular-sidecar")


def _release() -> str:
    """Return a hash of the static files: ours by content, those of packages by version.

    It is part of their addresses, so that browsers cache them for good and load new ones after an update. It is in the
    name of their common folder, not in each file name, so that references between files need no rewriting.
    """
    digest = hashlib.blake2b(digest_size=6)
    for path in sorted(path for app in ("accounts", "jobs") for path in (CODE_DIR / app / "static").rglob("*.*")):
        digest.update(path.name.encode() + path.read_bytes())
    for package in STATIC_PACKAGES:
        digest.update(f"{package}=={version(package)}".encode())
    return digest.hexdigest()


_RELEASE = "" if DEBUG else f"{_release()}/"  # with DEBUG files may change at any time
STATIC_URL = f"static/{_RELEASE}"
STATIC_ROOT = read_path("STATIC_ROOT", "var/static") / _RELEASE
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "ccbackend.static_files.BokehFinder",
]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True  # gunicorn alone serves the admin's files, without a collectstatic step
WHITENOISE_IMMUTABLE_FILE_TEST = "" if _RELEASE else "$^"  # a pattern: every address, or none

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.api.authentication.TokenAuthentication",
        "accounts.api.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.api.permissions.Denied"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "ccbackend.schema.OperationSchema",
    "EXCEPTION_HANDLER": "ccbackend.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Job control API",
    "DESCRIPTION": (
        "Start, stop, find, tag and delete batch jobs. Wire-compatible with the REST API of ClusterCockpit cc-backend."
    ),
    "VERSION": VERSION,
    "LICENSE": {"name": "MIT", "identifier": "MIT"},
    "SERVERS": [{"url": "/", "description": "The server that this description comes from."}],
    "TAGS": [
        {"name": "jobs", "description": "Batch jobs: start, stop, find, tag, correct, delete; their samples."},
        {"name": "tags", "description": "Tags, on whatever jobs."},
        {"name": "clusters", "description": "The configured clusters."},
        {"name": "nodes", "description": "Nodes, as schedulers report them."},
        {"name": "usage", "description": "What ended jobs used."},
        {"name": "users", "description": "Users of this server, for administrators."},
    ],
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PUBLIC": True,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/",
    "SORT_OPERATION_PARAMETERS": False,
    "OAS_VERSION": "3.1.1",
    "PREPROCESSING_HOOKS": ["ccbackend.schema.only_api_operations"],
    "COMPONENT_SPLIT_PATCH": False,  # PATCH takes the same bodies as POST
    "POSTPROCESSING_HOOKS": [],  # the default one renames enumerations
    "SWAGGER_UI_SETTINGS": {"deepLinking": False, "persistAuthorization": False, "validatorUrl": None},
}

LOG_LEVEL = read_text("LOG_LEVEL", "INFO").upper()
if LOG_LEVEL not in logging.getLevelNamesMapping():
    raise ImproperlyConfigured(f"LOG_LEVEL={LOG_LEVEL!r}: expected DEBUG, INFO, WARNING, ERROR or CRITICAL")
LOG_FORMAT = read_text("LOG_FORMAT", "text").lower()
if LOG_FORMAT not in logs.FORMATS:
    raise ImproperlyConfigured(f"LOG_FORMAT={LOG_FORMAT!r}: expected {' or '.join(logs.FORMATS)}")
LOGGING = logs.configuration(LOG_FORMAT, LOG_LEVEL) | {
    "loggers": {
        "django": {"level": LOG_LEVEL},
        "django.server": {"propagate": True, "handlers": []},
        "httpx": {"level": "WARNING"},  # otherwise a line for each request to a metric store
        "httpcore": {"level": "WARNING"},
        "axes": {"level": "ERROR"},  # the log-in form has lines of its own
    }
}
