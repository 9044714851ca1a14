# The commands of this repository. Everything that needs an environment makes it first; that is quick when it is there.
PYTHON ?= $(shell for python in python3 python3.12 python3.13 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
RUN = .venv/bin/python
# Processes of `make test`. Most of its time is waiting, and each starts servers of its own.
PROCESSES ?= 3
# One output after the other, where make can do that: macOS has 3.81, which cannot.
SYNC = $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

.PHONY: help setup setup-tests setup-bench setup-package demo serve check quick-tests test test-services test-training coverage lint bench bench-queue bench-load bench-safety bench-limits bench-pictures fuzz trace declare package clean
.DEFAULT_GOAL := help

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## make the environments of the server and the plugin
	@test -n "$(PYTHON)" || { echo "setup: no Python 3.11 or newer found; install one, or run make PYTHON=/path/to/it" >&2; exit 1; }
	@$(PYTHON) .ci/bootstrap.py server plugin

setup-tests:
	@test -n "$(PYTHON)" || { echo "setup: no Python 3.11 or newer found; install one, or run make PYTHON=/path/to/it" >&2; exit 1; }
	@$(PYTHON) .ci/bootstrap.py server plugin tests

setup-bench:
	@test -n "$(PYTHON)" || { echo "setup: no Python 3.11 or newer found; install one, or run make PYTHON=/path/to/it" >&2; exit 1; }
	@$(PYTHON) .ci/bootstrap.py server plugin tests miniature

setup-package:
	@test -n "$(PYTHON)" || { echo "setup: no Python 3.11 or newer found; install one, or run make PYTHON=/path/to/it" >&2; exit 1; }
	@$(PYTHON) .ci/bootstrap.py package

demo: setup ## start the server, call every tool as Dify does, save the pictures under demo/, stop
	@$(RUN) -m examples.demo

serve: setup ## run the server until Ctrl-C
	@$(RUN) -m qwen_image_studio serve

check: setup-tests ## lint, and the tests that start no process: while you work
	@$(MAKE) --no-print-directory --jobs 2 $(SYNC) lint quick-tests

quick-tests: setup-tests
	$(RUN) -m pytest tests/contract tests/ports tests/plugin -m "not processes" --numprocesses 3 --quiet

test: setup-tests ## everything that runs without a GPU
	$(RUN) -m pytest tests --ignore tests/services --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder

test-services: setup-tests ## the tests with nginx and Caddy in front, which root gets from Debian
	@$(RUN) .ci/services.py
	$(RUN) -m pytest tests/services

test-training: setup-tests ## the tests of the miniature's trainer
	$(RUN) -m pytest server/training --numprocesses 2 --dist loadfile
	$(RUN) .ci/training_stamp.py write

coverage: setup-tests ## which lines the tests that start no process run
	@mkdir -p .cache
	$(RUN) -m coverage run -m pytest tests/contract tests/ports tests/plugin -m "not processes" --quiet
	$(RUN) -m coverage report

lint: setup-tests ## ruff and mypy
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	MYPYPATH=server $(RUN) -m mypy -p qwen_image_studio -p training -p tests -p benchmarks -p examples -p declaration
	$(RUN) -m mypy --python-executable .venv-plugin/bin/python tools provider main.py

bench: setup-tests ## measure what the service costs, in turns with an earlier commit and the simplest server
	$(RUN) -m benchmarks.service; service=$$?; $(RUN) -m benchmarks.company && exit $$service

bench-queue: setup-tests ## measure what a claim costs with very many jobs in the table
	$(RUN) -m benchmarks.job_table

bench-load: setup-tests ## measure health and submits beside many, slow and hostile callers
	$(RUN) -m benchmarks.load

bench-safety: setup-tests ## measure what the classifier costs, with its policy off and on in turns
	$(RUN) -m benchmarks.safety

bench-pictures: setup-bench ## measure what regions save, and judge the pictures of the miniature
	$(RUN) -m benchmarks.regions
	$(RUN) -m benchmarks.miniature

bench-limits: setup-tests ## measure what the dearest request costs that is taken, field by field
	$(RUN) -m benchmarks.worst_requests

fuzz: setup-tests ## send many random requests to every route and check each answer against the contract
	FUZZ_EXAMPLES=100 $(RUN) -m pytest tests/contract/test_schemathesis.py --timeout 7200 --quiet

trace: setup-tests ## print which files a request touches, from the Dify node to the picture and back
	@$(RUN) -m benchmarks.trace

declare: setup-tests ## write the tools' YAML, provider and manifest from declaration/
	@$(RUN) -m declaration

package: setup-package ## write dist/*.difypkg
	@.venv-package/bin/python .ci/package.py

clean: ## remove the environments and everything that was made
	rm -rf .venv .venv-* .cache dist demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
