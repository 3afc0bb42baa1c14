# Everything a developer types. `make` alone lists it.

VENV := .venv
PYTHON_HERE := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
PIN := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-header --no-emit-index-url --no-emit-find-links
LOCK := $(PIN) pyproject.toml
# Run in environments of their own: what looks for trouble among our dependencies is none of them.
SBOM := $(VENV)/bin/uv tool run --from cyclonedx-bom==7.5.0 cyclonedx-py
AUDIT := $(VENV)/bin/uv tool run pip-audit==2.10.1

# Thousands of processes are started in a test run; without bytecode each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help up test check chaos bench screenshots lock sbom audit format clean
.SILENT:

help: ## List what can be made
	echo "make TARGET [ARGS='…']    Python: make PYTHON=/path/to/python3.12"
	echo
	sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 15

up: $(INSTALLED) ## Run everything on this machine; ARGS='--port 8081 --no-sample'
	exec $(PYTHON_HERE) -m web.cli up $(ARGS)

# Each worker has servers of its own; much of a test is waiting for one of them, so there are more than cores.
test: $(INSTALLED) ## Run all tests; ARGS='-k words tests/unit', or ARGS='-n 0' for one after the other
	exec $(PYTHON_HERE) -m pytest --numprocesses 6 --dist loadfile --no-loadscope-reorder $(ARGS)

chaos: $(INSTALLED) ## Cause the faults that take minutes; ARGS='-k words'
	exec $(PYTHON_HERE) -m pytest tests/chaos $(ARGS)

check: $(INSTALLED) ## Lint, format, types, and the direction of imports
	$(PYTHON_HERE) -m ruff check .
	$(PYTHON_HERE) -m ruff format --check .
	$(PYTHON_HERE) -m mypy
	$(VENV)/bin/lint-imports

bench: $(INSTALLED) ## Measure throughput, latency and memory; ARGS='--quick --only ingest'
	exec $(PYTHON_HERE) -m tests.bench $(ARGS)

screenshots: $(INSTALLED) ## Take pictures of every page; ARGS=folder
	exec $(PYTHON_HERE) -m tests.browser.screenshots $(ARGS)

format: $(INSTALLED) ## Put the code into its form
	$(PYTHON_HERE) -m ruff check --fix .
	$(PYTHON_HERE) -m ruff format .

lock: $(INSTALLED) ## Pin what pyproject.toml asks for; ARGS=--upgrade takes the newest
	printf 'hatchling\neditables\n' | \
		$(LOCK) - --extra embedded --extra dev $(ARGS) --output-file .ci/requirements.lock >/dev/null
	$(LOCK) --extra otel $(ARGS) --constraint .ci/requirements.lock --output-file .ci/requirements-runtime.lock >/dev/null
	printf 'hatchling\nsetuptools\n' | \
		$(PIN) - $(ARGS) --constraint .ci/requirements.lock --output-file .ci/requirements-build.lock >/dev/null

sbom: $(INSTALLED) ## Write sbom.json: what the image holds, as CycloneDX; needs the package index
	$(SBOM) requirements --pyproject pyproject.toml --mc-type application --output-reproducible \
		--of JSON --output-file sbom.json .ci/requirements-runtime.lock
	echo "sbom.json: $$(grep -c '"purl"' sbom.json) packages"

audit: $(INSTALLED) ## Ask the advisory database about what is pinned; needs the network
	$(AUDIT) --strict --disable-pip --require-hashes --requirement .ci/requirements-runtime.lock $(ARGS)
	$(AUDIT) --strict --disable-pip --require-hashes --requirement .ci/requirements.lock $(ARGS)

clean: ## Remove the virtual environment and every cache; the state of `up` stays
	rm -rf $(VENV) build dist sbom.json .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml .ci/requirements.lock .ci/install
	.ci/install
	touch $@
