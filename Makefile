# The commands of this repository. Everything that needs an environment makes it first; that is quick when it is there.
PYTHON ?= $(shell for python in python3 python3.12 python3.13 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
RUN = .venv/bin/python
# What takes long. Servers that are attacked, killed and upgraded, and Dify's apps; clients and plugins before whole
# servers; every route by schemathesis; what compiles, or paints picture after picture.
LONG = tests/apps tests/compat tests/e2e tests/faults \
	tests/contract/test_mcp_client.py tests/contract/test_huggingface_client.py $(wildcard tests/plugin/test_real_*.py) \
	tests/plugin/test_parallel.py tests/plugin/test_daemon.py tests/contract/test_schemathesis.py tests/deploy/test_lint.py \
	tests/server/test_compiling.py tests/server/test_adapters.py tests/server/test_parts.py tests/server/test_engine_traps.py \
	tests/server/test_embeddings.py tests/server/test_engine.py tests/ports/test_object_stores.py
# What runs on PostgreSQL as well as on SQLite, and what needs other people's servers.
ON_POSTGRESQL = tests/services tests/ports tests/faults tests/e2e
# Processes of `make test`. Most of its time is waiting, and each starts servers of its own.
PROCESSES ?= 3
# One output after the other, where make can do that: macOS has 3.81, which cannot.
SYNC = $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

.PHONY: help setup setup-tests setup-bench setup-package setup-clients setup-page demo serve check quick-tests test test-long test-services test-page clients test-training coverage lint bench bench-queue bench-fleet bench-chaos bench-load bench-cache bench-gpu bench-tiers bench-safety bench-credentials bench-limits bench-pictures bench-page screens fuzz trace declare vendor package clean
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

setup-clients: setup-tests
	@$(RUN) .ci/debian.py node npm
	@$(PYTHON) .ci/bootstrap.py clients

setup-page: setup-tests
	@$(RUN) .ci/debian.py chromium node npm wqy-microhei.ttc
	@$(PYTHON) .ci/bootstrap.py page

demo: setup ## start the server, call every tool as Dify does, save the pictures under demo/, stop
	@$(RUN) -m examples.demo

serve: setup ## run the server until Ctrl-C
	@$(RUN) -m qwen_image_studio serve

check: setup-tests ## lint, and the tests that start no process: while you work
	@$(MAKE) --no-print-directory --jobs 2 $(SYNC) lint quick-tests

quick-tests: setup-tests
	$(RUN) -m pytest tests/contract tests/ports tests/plugin tests/clients -m "not processes" --numprocesses 3 --quiet

test: setup-tests ## what needs no GPU, other people's servers (test-services) or a browser (test-page), and is quick
	$(RUN) .ci/tests.py tests $(addprefix --ignore ,$(LONG) tests/services tests/page) --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder

test-long: setup-tests ## the same, what takes long: whole servers that are attacked, killed and upgraded, Dify's apps ...
	$(RUN) .ci/tests.py $(LONG) --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder

test-services: setup-tests ## the tests with other people's servers, which root gets from Debian: PostgreSQL, brokers, proxies
	@$(RUN) .ci/debian.py nginx caddy postgres redis-server rabbitmq-server faketime ip node npm
	@$(PYTHON) .ci/bootstrap.py services
	TEST_DATABASE=postgresql $(RUN) .ci/tests.py $(ON_POSTGRESQL) --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder

test-page: setup-page ## the studio page in Chromium, which root gets from Debian
	$(RUN) .ci/tests.py tests/page --numprocesses 2 --dist loadfile --no-loadscope-reorder

clients: setup-clients ## call a server with the clients that people have, and print what works
	@$(RUN) -m tests.clients

test-training: setup-tests ## the tests of the miniature's trainer
	$(RUN) .ci/tests.py server/training --numprocesses 2 --dist loadfile
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

bench-queue: setup-tests ## measure what a claim costs with very many jobs in the table, on both databases
	@$(RUN) .ci/debian.py postgres
	$(RUN) -m benchmarks.job_table

bench-fleet: setup-tests ## measure what 50, 200 and 500 workers cost PostgreSQL
	@$(RUN) .ci/debian.py postgres
	$(RUN) -m benchmarks.fleet

bench-chaos: setup-tests ## kill workers, webs, broker and database while 300 jobs are painted, with each bell
	@$(RUN) .ci/debian.py postgres redis-server rabbitmq-server faketime
	$(RUN) -m benchmarks.chaos

bench-load: setup-tests ## measure health and submits beside many, slow and hostile callers
	$(RUN) -m benchmarks.load

bench-cache: setup-tests ## measure what an answer costs that needs no painting
	$(RUN) -m benchmarks.cache

bench-gpu: setup-tests ## measure a step of the full-size architecture on this machine's card; without one, a toy
	$(RUN) -m benchmarks.gpu

bench-tiers: setup-tests ## measure the miniature's tiers in turns
	$(RUN) -m benchmarks.tiers

bench-safety: setup-tests ## measure what the classifier costs, with its policy off and on in turns
	$(RUN) -m benchmarks.safety

bench-credentials: setup-tests ## measure what a picture's signature costs
	$(RUN) -m benchmarks.credentials

bench-pictures: setup-bench ## measure what regions save, and judge the pictures of the miniature
	$(RUN) -m benchmarks.regions
	$(RUN) -m benchmarks.miniature

bench-page: setup-page ## measure what the studio page costs a browser
	$(RUN) -m benchmarks.page

bench-limits: setup-tests ## measure what the dearest request costs that is taken, field by field
	$(RUN) -m benchmarks.worst_requests

fuzz: setup-tests ## send many random requests to every route and check each answer against the contract
	FUZZ_EXAMPLES=100 $(RUN) -m pytest tests/contract/test_schemathesis.py --timeout 7200 --quiet

trace: setup-tests ## print which files a request touches, from the Dify node to the picture and back
	@$(RUN) -m benchmarks.trace

declare: setup-tests ## write the tools' YAML, provider and manifest from declaration/
	@$(RUN) -m declaration

vendor: ## take the page's libraries and icons anew from their packages, as vendor.toml names them
	@$(PYTHON) .ci/vendor.py

screens: setup-page ## take the pictures of docs/studio.md anew
	STUDIO_SCREENS=write $(RUN) -m pytest tests/page/test_screens.py --quiet

package: setup-package ## write dist/*.difypkg
	@.venv-package/bin/python .ci/package.py

clean: ## remove the environments and everything that was made
	rm -rf .venv .venv-* tests/clients/node/node_modules tests/services/node/node_modules tests/page/node/node_modules .cache dist demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
