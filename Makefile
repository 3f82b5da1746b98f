# make run: set up and run the server with demo data. make test: set up and pass all tests.
# Both need nothing but make and Python 3.11 or newer.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
export DEMO_SOURCES := {"demo": {"kind": "synthetic"}, "*": {"kind": "none"}}

.PHONY: run test test-sqlite test-postgres check browser prometheus screenshots clean

run: $(VENV)/.server
	@umask 077; mkdir -p var; test -s var/secret-key || $(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(50))' > var/secret-key
	@grep -qs '^SECRET_KEY=.' .env || export SECRET_KEY="$${SECRET_KEY:-$$(cat var/secret-key)}"; \
	grep -qs '^METRIC_SOURCES=.' .env || export METRIC_SOURCES="$${METRIC_SOURCES:-$$DEMO_SOURCES}"; \
	exec $(BIN)/python manage.py run_demo

# The suite on SQLite and on PostgreSQL, side by side: much of it waits.
test: $(VENV)/.development browser prometheus
	$(MAKE) --no-print-directory --jobs 2 --output-sync=target test-sqlite test-postgres

test-sqlite: | $(VENV)/.development
	$(BIN)/pytest -o cache_dir=.pytest_cache/sqlite $(PYTEST)

test-postgres: | $(VENV)/.development
	$(BIN)/python -m tests.with_postgres $(BIN)/pytest -o cache_dir=.pytest_cache/postgres $(PYTEST)

# Static checks, without the tests.
check: $(VENV)/.development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	SECRET_KEY=check $(BIN)/mypy .
	SECRET_KEY=check $(BIN)/python manage.py makemigrations --check --dry-run
	SECRET_KEY=check $(BIN)/python manage.py spectacular --validate --fail-on-warn --file /dev/null

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: none of python3, python3.11 .. python3.14 is" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.server: requirements.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.development: requirements-dev.txt requirements.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# The browser tests drive Debian's Chromium; where it cannot be had they say so and are skipped.
browser:
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	&& apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } \
	|| echo "no Chromium: the browser tests will be skipped"

# The tests of the metric source prometheus start Debian's Prometheus. Its package is unpacked beside Python instead of
# being installed: that starts no service, and needs root only where apt has no lists yet.
prometheus: | $(VENV)/bin/python
	@{ command -v prometheus && command -v promtool; } >/dev/null || test -x $(BIN)/promtool || { \
	command -v apt-get >/dev/null && folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && bin=$$(realpath $(BIN)) && cd "$$folder" \
	&& { apt-get download -qq prometheus >/dev/null 2>&1 || { apt-get update -qq && apt-get download -qq prometheus; } 2>/dev/null; } \
	&& dpkg-deb -x prometheus_*.deb . && cp usr/bin/prometheus usr/bin/promtool "$$bin"; } \
	|| echo "no Prometheus: its tests will be skipped"

# A picture of each page of the admin site, in var/screenshots; the documentation's are renewed.
screenshots: $(VENV)/.development browser
	$(BIN)/python -m tests.screenshots

clean:
	rm -rf $(VENV) var .mypy_cache .ruff_cache .pytest_cache
