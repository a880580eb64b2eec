# `make run` and `make test` need nothing done before them, and may be repeated.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
MANAGE = $(BIN)/python manage.py
COVERAGE = $(BIN)/coverage report --fail-under
# A lock names everything. Without --no-deps, pip before 24 resolves extras of dependencies anew, and finds releases that
# no hash covers.
INSTALL = pip install --quiet --disable-pip-version-check --no-deps --require-hashes
export COVERAGE_FILE = $(VENV)/.coverage
# Processes that test: more than a small machine has cores, because many tests wait for servers.
TESTERS ?= 4
TEST = $(BIN)/python -m pytest --numprocesses $(TESTERS) --dist loadfile --no-loadscope-reorder
# Where the processes of the working copy keep their metrics, so that /metrics of `make serve` shows those of `make run`.
METRICS = .metrics
WITH_METRICS = mkdir -p $(METRICS) && PROMETHEUS_MULTIPROC_DIR=$(METRICS)

.DEFAULT_GOAL = help
.PHONY: help run demo serve test covered lowest check conformance recipes lint types docs generate migrate lock wheel clean

help:  ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: migrate  ## refresh about ten real packages, and show what happened
	$(MANAGE) load_sample
	$(WITH_METRICS) $(MANAGE) update_packages --all

demo: $(VENV)/.dev  ## refresh 300 packages from stand-ins for all servers, through an outage of PyPI
	$(BIN)/python -m tests.upstreams.demo

serve: migrate  ## serve the site on http://localhost:8000/
	$(WITH_METRICS) $(MANAGE) runserver

test: $(VENV)/.dev  ## run the whole test suite
	$(TEST) $(ARGS)

# Python 3.12 and newer can count lines at nearly no cost; tracing them took two thirds more time.
covered: export COVERAGE_CORE = sysmon
covered: TEST += --cov --cov-report=
covered: test  ## the same on Python 3.12 or newer, and judge how many lines it covers
	$(COVERAGE) 97 --include='core/http/*'
	$(COVERAGE) 95 --omit='core/http/*'

# Versions that old have no wheels for a newer Python.
lowest: PYTHON = python3.11
lowest: BIN = $(VENV)-lowest/bin
lowest: $(VENV)-lowest/.installed  ## run the faster tests of core and package on the lowest versions that pyproject.toml allows
	$(TEST) -m "not slow" tests/core tests/package $(ARGS)

check: lint types test  ## run everything that must pass

conformance: $(VENV)-conformance/.installed  ## run the test suites of requests, responses, vcrpy and httpx on our sessions and clients
	$(VENV)-conformance/bin/python -m tests.conformance $(ARGS)

recipes: $(VENV)-recipes/.installed  ## run the examples of docs/client-libraries.md with the real packages
	$(VENV)-recipes/bin/python -m pytest -c tests/recipes/pytest.ini tests/recipes $(ARGS)

lint: $(VENV)/.dev  ## look for mistakes and misplaced white space
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## check the types
	DEBUG=true $(BIN)/mypy

docs: $(VENV)-docs/.installed  ## build the documentation site in docs/_build/html: strictly, with all internal links checked
	$(VENV)-docs/bin/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build/html
	$(VENV)-docs/bin/python -m tests.docs.built docs/_build/html

generate: $(VENV)/.dev  ## write alerts and dashboard anew, from grafana/generate/
	$(BIN)/python -m grafana.generate

migrate: $(VENV)/.site .env
	$(MANAGE) migrate --verbosity 0

# What each lock holds. The site is the library with its extra for Django, and a group of dependencies of its own.
COMPILE = $(BIN)/uv pip compile --quiet $(UPGRADE) --universal --generate-hashes --no-header
SITE = pyproject.toml --extra django --group site
DEV = $(SITE) --extra socks --group dev
UPGRADE ?= --upgrade

lock: $(VENV)/.dev  ## resolve the dependencies anew, into requirements/; with UPGRADE= only as far as they changed
	$(COMPILE) $(SITE) --output-file requirements/site.txt
	$(COMPILE) $(DEV) --group httpx2 --constraint requirements/site.txt --output-file requirements/dev.txt
	$(COMPILE) $(DEV) --python-version 3.11 --resolution lowest-direct --output-file requirements/lowest.txt
	$(COMPILE) --python-version 3.11 --group conformance --constraint requirements/site.txt \
		--output-file requirements/conformance.txt
	$(COMPILE) --python-version 3.11 --group docs --constraint requirements/site.txt --output-file requirements/docs.txt
	$(COMPILE) --python-version 3.11 pyproject.toml --group recipes --constraint requirements/dev.txt \
		--output-file requirements/recipes.txt

wheel: $(VENV)/.dev  ## build the library's source distribution, and the wheel from it, into dist/
	$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist

clean:  ## remove the environment, the database and everything that was generated
	rm -rf .venv* docs/_build .conformance .metrics dist .coverage htmlcov .mypy_cache .pytest_cache .ruff_cache .hypothesis db.sqlite3* staticfiles

.env:
	@echo "Writing .env for a working copy: DEBUG=true"
	@echo "DEBUG=true" > .env

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here; name another one: make PYTHON=python3.13" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.13" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.site: requirements/site.txt | $(VENV)/bin/python
	@echo "Installing what the site needs; this takes a minute the first time"
	$(BIN)/$(INSTALL) -r requirements/site.txt
	$(BIN)/pip check
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.site
	@echo "Installing what the tests need"
	$(BIN)/$(INSTALL) -r requirements/dev.txt
	$(BIN)/pip check
	@touch $@

# Environments of their own, each with one lock.
$(VENV)-%/.installed: requirements/%.txt
	@$(MAKE) --no-print-directory PYTHON=$(PYTHON) VENV=$(VENV)-$* $(VENV)-$*/bin/python
	@echo "Installing requirements/$*.txt"
	$(VENV)-$*/bin/$(INSTALL) -r $<
	$(VENV)-$*/bin/pip check
	@touch $@
