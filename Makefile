# Everything a newcomer needs; only Python 3.11 (or 3.12), git and make have to be there.

PYTHON ?= $(shell for p in python3.11 python3.12 python3; do command -v $$p && break; done)
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install -qq --disable-pip-version-check --require-hashes
# Pytest's own arguments: make test ARGS="tests/numbering -x"
ARGS ?=
# Django settings for tools that look at the code only and connect to nothing.
OFFLINE := DJANGO_SETTINGS_MODULE=config.settings.test \
	DATABASE_URL=postgresql://nobody@127.0.0.1:9/nothing REDIS_URL=redis://127.0.0.1:9/0
LOCK := uv pip compile pyproject.toml --extra embedded --generate-hashes --no-header --no-annotate \
	--universal --python-version 3.11 --quiet

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test check openapi states browser faults bench-numbering bench-realname bench-provisioning lock stop clean

help:
	@echo 'make run            install, start everything, do the main job, keep serving until Ctrl-C'
	@echo 'make run ONCE=1     the same, and stop after the main job'
	@echo '     PORT=9000      listen there instead of 8000'
	@echo '     DATABASE_URL=postgresql://... REDIS_URL=redis://...   use these servers instead of embedded ones'
	@echo 'make test           all tests (ARGS="tests/numbering -x" for some; LONG=1 kills and claims more often)'
	@echo 'make faults         orders while everything is killed, cut off and flushed; a checker of what must never happen'
	@echo '     SEED=7 repeats; LONG=1 ten times as much and all scenarios; ONLY=F04 one of them; CONTROLS=1 breaks us on purpose'
	@echo 'make check          ruff, mypy, import-linter, missing migrations, OpenAPI up to date'
	@echo 'make openapi        write docs/openapi.yaml anew'
	@echo 'make states         draw docs/states.md anew'
	@echo 'make browser        install the browser that some tests drive (Debian, as root)'
	@echo 'make bench-numbering   load, claims, search and expiry at 60 million numbers (20 minutes, 25 GB of disk)'
	@echo '     ROWS=1000000   a small run; WAYS=1 compares ways of claiming as well'
	@echo 'make bench-realname    documents, encryption, rotation of 100,000 people, a check without its providers (5 minutes)'
	@echo '     ROWS=5000      a small run'
	@echo 'make bench-provisioning   speed, waiting times and memory of the carrier worker (4 minutes)'
	@echo '     ROWS=600       a small run; WAYS=1 compares ways of calling instead'
	@echo 'make lock           resolve requirements.lock and requirements-dev.lock anew (needs uv)'
	@echo 'make stop           end what make run left running'
	@echo 'make clean          remove .venv, caches, and var/ with its data and secrets'

run: $(VENV)/.run-installed
	@exec $(PY) -m config.run serve $(if $(filter-out 0 no false,$(ONCE)),--once)

test: $(VENV)/.dev-installed
	@$(if $(filter-out 0 no false,$(LONG)),KAIHU_LONG_TESTS=1) exec $(PY) -m pytest -n 2 --dist worksteal $(ARGS)

# Servers of its own under var/faults; one JSON file a run beside them.
faults: $(VENV)/.dev-installed
	@exec $(PY) -m tests.faults $(if $(SEED),--seed $(SEED)) $(if $(ORDERS),--orders $(ORDERS)) $(if $(ONLY),--only $(ONLY)) \
		$(if $(filter-out 0 no false,$(LONG)),--long) $(if $(filter-out 0 no false,$(CONTROLS)),--controls)

check: $(VENV)/.dev-installed
	@mkdir -p var; rm -f var/openapi.yaml; failed=; \
	step() { \
		name=$$1; shift; \
		if output=$$("$$@" 2>&1); then printf '  %-28s ok\n' "$$name"; \
		else printf '  %-28s FAILED\n%s\n' "$$name" "$$output"; failed="$$failed [$$name]"; fi; \
	}; \
	export $(OFFLINE); \
	step 'ruff check' $(PY) -m ruff check .; \
	step 'ruff format --check' $(PY) -m ruff format --check .; \
	step 'mypy' $(PY) -m mypy; \
	step 'import-linter' $(PY) $(VENV)/bin/lint-imports --no-cache; \
	step 'missing migrations' $(PY) manage.py makemigrations --check --dry-run; \
	step 'OpenAPI generates' $(PY) manage.py spectacular --validate --fail-on-warn --file var/openapi.yaml; \
	step 'OpenAPI up to date' diff -u docs/openapi.yaml var/openapi.yaml; \
	if [ -n "$$failed" ]; then echo "kaihu: failed:$$failed" >&2; exit 1; fi

openapi: $(VENV)/.dev-installed
	@mkdir -p docs
	@$(OFFLINE) $(PY) manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml

states: $(VENV)/.dev-installed
	@mkdir -p docs
	@$(OFFLINE) $(PY) manage.py draw_states > docs/states.md

browser:
	@if command -v chromium >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo '  Installing chromium'; \
		log=$$(mktemp); \
		if { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
			chromium fonts-wqy-zenhei; } >"$$log" 2>&1; \
		then rm -f "$$log"; else cat "$$log" >&2; exit 1; fi; \
	else \
		echo 'kaihu: the browser tests need chromium: sudo apt-get install chromium fonts-wqy-zenhei' >&2; exit 2; \
	fi

# A server of its own under var/bench, removed at the end; results in var/bench/numbering.json.
bench-numbering: $(VENV)/.dev-installed
	@exec $(PY) -m benchmarks.numbering --rows $(or $(ROWS),60000000) $(if $(filter-out 0 no false,$(WAYS)),--ways)

# The same way; results in var/bench/realname.json.
bench-realname: $(VENV)/.dev-installed
	@exec $(PY) -m benchmarks.realname --rows $(or $(ROWS),100000)

# Servers and a simulator of its own under var/bench, removed at the end; results in var/bench/provisioning.json.
bench-provisioning: $(VENV)/.dev-installed
	@exec $(PY) -m benchmarks.provisioning --rows $(or $(ROWS),20000) $(if $(filter-out 0 no false,$(WAYS)),--ways)

lock:
	@command -v uv >/dev/null || { echo 'kaihu: make lock needs uv: pip install uv' >&2; exit 2; }
	@$(LOCK) -o requirements.lock
	@$(LOCK) --group dev -o requirements-dev.lock

stop:
	@if [ -x $(PY) ] && [ -d var ]; then $(PY) -m config.run stop; else echo '  Nothing runs.'; fi

clean:
	@for home in var var/test* var/faults/rig; do \
		if [ -x $(PY) ] && [ -d "$$home" ]; then $(PY) -m config.run stop --delete-data --var "$$home" >/dev/null; fi; \
	done
	@rm -rf $(VENV) var .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@[ -n '$(PYTHON)' ] && command -v '$(PYTHON)' >/dev/null || { \
		echo 'kaihu: Python 3.11 is needed and was not found; say where it is: make PYTHON=/path/to/python3.11 ...' >&2; exit 2; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' || { \
		echo "kaihu: Python 3.11 or 3.12 is needed, $(PYTHON) is $$('$(PYTHON)' -V 2>&1): make PYTHON=/path/to/python3.11 ..." >&2; \
		exit 2; }
	@'$(PYTHON)' -c 'import venv, ensurepip' 2>/dev/null || { \
		echo 'kaihu: $(PYTHON) comes without venv and pip: sudo apt-get install python3.11-venv' >&2; exit 2; }
	@echo '  Making $(VENV)'
	@'$(PYTHON)' -m venv $(VENV)
	@touch $@

$(VENV)/.run-installed: requirements.lock $(VENV)/.made
	@echo '  Installing the requirements (about a minute the first time)'
	@$(PIP) -r requirements.lock
	@touch $@

# The development requirements include those of make run.
$(VENV)/.dev-installed: requirements-dev.lock requirements.lock $(VENV)/.made
	@echo '  Installing the development requirements (about a minute the first time)'
	@$(PIP) -r requirements-dev.lock
	@touch $(VENV)/.run-installed $@
