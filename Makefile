# `make run` and `make test` need no preparation and can be repeated.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
MANAGE = $(BIN)/python manage.py
COVERAGE = $(BIN)/coverage report --fail-under
# A lock lists all packages. Without --no-deps, pip before 24 resolves extras of dependencies again, and may choose a
# release without a hash in the lock.
INSTALL = pip install --quiet --disable-pip-version-check --no-deps --require-hashes
export COVERAGE_FILE = $(VENV)/.coverage
# Test processes: more than the cores of a small machine, because many tests wait for servers.
TESTERS ?= 4
TEST = $(BIN)/python -m pytest --numprocesses $(TESTERS) --dist loadfile --no-loadscope-reorder
# Directory for the metrics of all processes of the working copy, so that /metrics of `make serve` includes `make run`.
METRICS = .metrics
WITH_METRICS = mkdir -p $(METRICS) && PROMETHEUS_MULTIPROC_DIR=$(METRICS)

.DEFAULT_GOAL = help
.PHONY: help run demo serve test covered lowest check conformance recipes lint types docs generate migrate lock wheel clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: migrate  ## refresh about ten real packages and print the results
	$(MANAGE) load_sample
	$(WITH_METRICS) $(MANAGE) update_packages --all

demo: $(VENV)/.dev  ## refresh 300 packages from simulated servers, during an outage of PyPI
	$(BIN)/python -m tests.upstreams.demo

serve: migrate  ## serve the site on http://localhost:8000/
	$(WITH_METRICS) $(MANAGE) runserver

test: $(VENV)/.dev  ## run the whole test suite
	$(TEST) $(ARGS)

# Python 3.12 and newer can measure coverage at almost no cost; with tracing, the tests took two thirds more time.
covered: export COVERAGE_CORE = sysmon
covered: TEST += --cov --cov-report=
covered: test  ## run the whole test suite on Python 3.12 or newer, and check the coverage
	$(COVERAGE) 97 --include='core/http/*'
	$(COVERAGE) 95 --omit='core/http/*'

# The lowest versions have no wheels for newer versions of Python.
lowest: PYTHON = python3.11
lowest: BIN = $(VENV)-lowest/bin
lowest: $(VENV)-lowest/.installed  ## run the fast tests of core and package with the lowest versions that pyproject.toml allows
	$(TEST) -m "not slow" tests/core tests/package $(ARGS)

check: lint types test  ## run lint, types and test

conformance: $(VENV)-conformance/.installed  ## run the test suites of requests, responses, vcrpy and httpx with core.http's sessions and clients
	$(VENV)-conformance/bin/python -m tests.conformance $(ARGS)

recipes: $(VENV)-recipes/.installed  ## run the examples of docs/client-libraries.md with the real client libraries
	$(VENV)-recipes/bin/python -m pytest -c tests/recipes/pytest.ini tests/recipes $(ARGS)

lint: $(VENV)/.dev  ## run the linter and check the formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## run the type checker
	DEBUG=true $(BIN)/mypy

docs: $(VENV)-docs/.installed  ## build the documentation site in docs/_build/html; warnings and broken internal links are errors
	$(VENV)-docs/bin/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build/html
	$(VENV)-docs/bin/python -m tests.docs.built docs/_build/html

generate: $(VENV)/.dev  ## regenerate the alerts and the dashboard from grafana/generate/
	$(BIN)/python -m grafana.generate

migrate: $(VENV)/.site .env
	$(MANAGE) migrate --verbosity 0

# The requirements of each lock. The site needs the library with its extra "django", and the dependency group "site".
COMPILE = $(BIN)/uv pip compile --quiet $(UPGRADE) --universal --generate-hashes --no-header
SITE = pyproject.toml --extra django --group site
DEV = $(SITE) --extra socks --group dev
UPGRADE ?= --upgrade

lock: $(VENV)/.dev  ## lock the newest dependencies in requirements/; with UPGRADE= keep the locked versions where possible
	$(COMPILE) $(SITE) --output-file requirements/site.txt
	$(COMPILE) $(DEV) --group httpx2 --constraint requirements/site.txt --output-file requirements/dev.txt
	$(COMPILE) $(DEV) --python-version 3.11 --resolution lowest-direct --output-file requirements/lowest.txt
	$(COMPILE) --python-version 3.11 --group conformance --constraint requirements/site.txt \
		--output-file requirements/conformance.txt
	$(COMPILE) --python-version 3.11 --group docs --constraint requirements/site.txt --output-file requirements/docs.txt
	$(COMPILE) --python-version 3.11 pyproject.toml --group recipes --constraint requirements/dev.txt \
		--output-file requirements/recipes.txt

wheel: $(VENV)/.dev  ## build the library's source distribution and wheel in dist/
	$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist

clean:  ## remove the virtual environments, the database, caches and build output
	rm -rf .venv* docs/_build .conformance .metrics dist .coverage htmlcov .mypy_cache .pytest_cache .ruff_cache .hypothesis db.sqlite3* staticfiles

.env:
	@echo "Writing .env for a working copy: DEBUG=true"
	@echo "DEBUG=true" > .env

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found. Choose another Python: make PYTHON=python3.13" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11. Choose a newer Python: make PYTHON=python3.13" >&2; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.site: requirements/site.txt | $(VENV)/bin/python
	@echo "Installing the site's dependencies, which takes about a minute the first time"
	$(BIN)/$(INSTALL) -r requirements/site.txt
	$(BIN)/pip check
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.site
	@echo "Installing the test dependencies"
	$(BIN)/$(INSTALL) -r requirements/dev.txt
	$(BIN)/pip check
	@touch $@

# Separate virtual environments, each with its own lock.
$(VENV)-%/.installed: requirements/%.txt
	@$(MAKE) --no-print-directory PYTHON=$(PYTHON) VENV=$(VENV)-$* $(VENV)-$*/bin/python
	@echo "Installing requirements/$*.txt"
	$(VENV)-$*/bin/$(INSTALL) -r $<
	$(VENV)-$*/bin/pip check
	@touch $@
