# make run: set up and run the server with demo data. make test: set up and pass all tests.
# Both need nothing but make and Python 3.11 or newer with its module venv.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
PORT ?= 8080
BIND ?= 127.0.0.1
VENV := .venv
BIN := $(VENV)/bin
PIP = $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: run demo test test-sqlite test-postgres check browser prometheus pgbouncer proxies slapd typescript screenshots lock clean clean-data

run: $(VENV)/.server .env
	@exec $(BIN)/python manage.py run_demo --port "$(PORT)" --bind "$(BIND)"

# New demo jobs, on each of the last seven days, in place of the old ones.
demo: $(VENV)/.server .env
	@$(BIN)/python manage.py run_demo --renew

# Written once, so that every command of manage.py works.
.env: | $(VENV)/.made
	@umask 077; { echo 'SECRET_KEY='$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(50))') \
	&& echo 'METRIC_SOURCES={"demo": {"kind": "synthetic"}, "*": {"kind": "none"}}'; } > .env.new && mv .env.new .env

test: $(VENV)/.development browser prometheus pgbouncer proxies slapd typescript
	$(BIN)/python -m tests.both $(PYTEST)

test-sqlite: $(VENV)/.development
	$(BIN)/python -m pytest -o cache_dir=.pytest_cache/sqlite $(PYTEST)

test-postgres: $(VENV)/.development
	$(BIN)/python -m tests.with_postgres $(BIN)/python -m pytest -o cache_dir=.pytest_cache/postgres $(PYTEST)

# Static checks, without the tests.
check: $(VENV)/.development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	SECRET_KEY=check $(BIN)/mypy .
	SECRET_KEY=check $(BIN)/python manage.py makemigrations --check --dry-run
	SECRET_KEY=check $(BIN)/python manage.py spectacular --validate --fail-on-warn --file /dev/null

# A folder whose Python or pip does not run, as left by a failed attempt, is created anew.
$(shell test ! -e $(VENV)/.made || $(BIN)/python -c '' 2>/dev/null || rm -f $(VENV)/.made $(VENV)/.server $(VENV)/.development)

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: none of python3, python3.11 .. python3.14 is" >&2; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
	echo "$(PYTHON) cannot make $(VENV): install its module venv (Debian, Ubuntu: apt-get install python3-venv) and repeat" >&2; exit 2; }
	@touch $@

$(VENV)/.server: requirements.txt | $(VENV)/.made
	@echo "installing the requirements of the server ..."
	@$(PIP) install -r requirements.txt
	@touch $@

$(VENV)/.development: requirements-dev.txt requirements-analysis.txt requirements-log-in.txt requirements.txt | $(VENV)/.made
	@echo "installing the requirements of the server and the tests ..."
	@$(PIP) install -r requirements-dev.txt
	@touch $@

# The browser tests use Debian's Chromium; root on Debian installs it, elsewhere they are skipped.
browser:
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	&& echo "installing Debian's package chromium for the browser tests ..." && apt-get update -qq \
	&& apt-get install -y -qq --no-install-recommends chromium >/dev/null; } \
	|| echo "no Chromium, the browser tests will be skipped; root can install Debian's package chromium"

# The tests of the metric source prometheus and of alerts start Debian's. Its package is unpacked beside Python instead of
# being installed: that starts no service, and needs root only if apt has no lists yet.
prometheus: | $(VENV)/.made
	@{ command -v prometheus && command -v promtool; } >/dev/null || test -x $(BIN)/promtool || { \
	command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null \
	&& echo "unpacking Debian's package prometheus into $(BIN) for its tests ..." \
	&& folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && bin=$$(realpath $(BIN)) && cd "$$folder" \
	&& { apt-get download -qq prometheus >/dev/null 2>&1 || { apt-get update -qq && apt-get download -qq prometheus; } 2>/dev/null; } \
	&& dpkg-deb -x prometheus_*.deb . && cp usr/bin/prometheus usr/bin/promtool "$$bin"; } \
	|| echo "no Prometheus, its tests will be skipped; root can install Debian's package prometheus"

# The tests of PostgreSQL through a pooler start Debian's pgbouncer, unpacked in the same way with its two libraries.
pgbouncer: | $(VENV)/.made
	@command -v pgbouncer >/dev/null || test -x /usr/sbin/pgbouncer || test -x $(VENV)/pgbouncer/usr/sbin/pgbouncer || { \
	command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null \
	&& echo "unpacking Debian's package pgbouncer into $(VENV)/pgbouncer for its tests ..." \
	&& folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && to=$$(realpath $(VENV))/pgbouncer && cd "$$folder" \
	&& { apt-cache show pgbouncer >/dev/null 2>&1 || apt-get update -qq; } \
	&& apt-get download -qq pgbouncer $$(apt-cache depends pgbouncer | grep -oE 'lib(c-ares|event)[-0-9.a-z]*') 2>/dev/null \
	&& for package in *.deb; do dpkg-deb -x "$$package" files || exit 1; done && rm -rf "$$to" && mv files "$$to"; } \
	|| echo "no pgbouncer, its tests will be skipped; root can install Debian's package pgbouncer"

# The tests of deploy/ start Debian's nginx and Apache, unpacked in the same way.
proxies: | $(VENV)/.made
	@test -x $(VENV)/proxies/usr/sbin/apache2 || { \
	command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null \
	&& echo "unpacking Debian's packages nginx and apache2-bin into $(VENV)/proxies for their tests ..." \
	&& folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && to=$$(realpath $(VENV))/proxies && cd "$$folder" \
	&& { apt-cache show nginx >/dev/null 2>&1 || apt-get update -qq; } \
	&& apt-get download -qq nginx apache2-bin $$(apt-cache depends apache2-bin | grep -oE 'Depends: libapr(util)?1(t64)?$$' | cut -d' ' -f2) 2>/dev/null \
	&& for package in *.deb; do dpkg-deb -x "$$package" files || exit 1; done && rm -rf "$$to" && mv files "$$to"; } \
	|| echo "no nginx and Apache, their tests will be skipped; root can install Debian's packages nginx and apache2"

# The tests of log-ins by LDAP start Debian's slapd, unpacked in the same way with the libraries that it needs.
slapd: | $(VENV)/.made
	@test -x /usr/sbin/slapd || test -x $(VENV)/slapd/usr/sbin/slapd || { \
	command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null \
	&& echo "unpacking Debian's package slapd into $(VENV)/slapd for its tests ..." \
	&& folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && to=$$(realpath $(VENV))/slapd && cd "$$folder" \
	&& { apt-cache show slapd >/dev/null 2>&1 || apt-get update -qq; } \
	&& apt-get download -qq slapd $$(apt-cache depends slapd | grep -oE 'Depends: lib(ldap|ltdl|odbc|sasl2|wrap|argon2)[-.0-9a-z]*$$' | cut -d' ' -f2) 2>/dev/null \
	&& for package in *.deb; do dpkg-deb -x "$$package" files || exit 1; done && rm -rf "$$to" && mv files "$$to"; } \
	|| echo "no slapd, its tests will be skipped; root can install Debian's package slapd"

# The packages that check the API's description with TypeScript, where npm is; elsewhere that check is skipped.
typescript: | $(VENV)/.made
	@cmp -s tests/typescript/package-lock.json $(VENV)/node/package-lock.json || { \
	command -v npm >/dev/null && echo "installing the packages that check the API's description with TypeScript ..." \
	&& rm -rf $(VENV)/node && mkdir $(VENV)/node && cp tests/typescript/package*.json $(VENV)/node \
	&& (cd $(VENV)/node && npm ci --ignore-scripts --no-audit --no-fund --silent) \
	|| { rm -rf $(VENV)/node; false; }; } \
	|| echo "no npm, or no packages from it: the check of the API's description with TypeScript will be skipped"

# Take a screenshot of each page of the admin site, in var/screenshots, and renew those of the documentation.
screenshots: $(VENV)/.development browser
	$(BIN)/python -m tests.screenshots

# Write requirements.lock anew from the requirements of the server, by a program that is needed for nothing else.
lock: | $(VENV)/.made
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && $(BIN)/python -m venv "$$folder" \
	&& "$$folder/bin/pip" --quiet --disable-pip-version-check install uv==0.13.9 \
	&& "$$folder/bin/uv" pip compile --quiet --generate-hashes --python-version 3.11 --python-platform linux \
	--no-annotate --custom-compile-command "make lock" --output-file requirements.lock requirements-log-in.txt

# Delete everything that can be created again. The demo's database and archive in var stay.
clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

clean-data:
	@printf 'Delete var with its database and job archive? [y/N] '; read answer && test "$$answer" = y \
	&& rm -rf var || { echo "nothing was deleted"; exit 1; }
