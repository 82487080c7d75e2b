# Two commands matter: `make demo` and `make test`. Both set themselves up; both may be run again at any time.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

# Trust the certificates that this machine trusts: registries are often reached through a company's proxy.
export UV_SYSTEM_CERTS ?= true

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-postgres demo-questdb demo-fleet test quick bench cross-check soak chaos ray docs services lock \
	wheel format clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(READY)  ## make the environment in .venv (done by every other target)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "qmtl needs Python 3.11 or newer; say which with: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		"$$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements.lock)"
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: $(READY)  ## real bars are filled, broken, healed and checked in front of your eyes
	@$(BIN)/qmtl demo

demo-postgres: $(READY)  ## two machines share a store on PostgreSQL, and one is killed in the middle of a write
	@$(BIN)/python -m qmtl.interfaces.demo.two_machines

DEMO_QUESTDB ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/qmtl-tests/questdb-9.3.4.jar
demo-questdb: $(READY)  ## QuestDB is killed in a write, and loses its newest rows: all of it is found, told and healed
	@$(BIN)/python -m qmtl.interfaces.demo.in_questdb $(DEMO_QUESTDB)

FLEET_ETCD ?= $(firstword $(wildcard $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/qmtl-tests/etcd-3.7.3) $(shell command -v etcd))
demo-fleet: $(READY)  ## ten processes fill a range; a worker, a coordinator, the leader of etcd and the database are killed
	@FLEET_ETCD=$(FLEET_ETCD) $(BIN)/python -m qmtl.interfaces.demo.whole_fleet operations/fleet.sh

test: $(READY)  ## the whole ritual: format, lint, types, layering, tests, docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n auto -rs

quick: $(READY)  ## format, lint, types, layering and unit tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n auto -m "not slow and not process and not service"

bench: $(READY)  ## measure what docs/benchmarks.md reports
	$(BIN)/python -m benchmarks

cross-check: $(READY)  ## the same strategies here and in backtrader, which gets an environment of its own: to the cent
	$(BIN)/python -m benchmarks.cross_check

soak: $(READY)  ## the crash tests, 1,000 rounds; 100,000 commits on PostgreSQL; an import of 10 million lines; stores of up to 10 GB; 1,000 faults of a fleet
	QMTL_TEST_CRASH_ROUNDS=1000 QMTL_TEST_IMPORT_ROWS=10000000 QMTL_TEST_GROWTH=full QMTL_TEST_BLOAT_COMMITS=100000 \
		QMTL_TEST_SERIES=10000 QMTL_TEST_BOTH_CATALOGS=1 $(BIN)/python -m pytest -n auto -rs tests -k "crash or soak or thousands"

	$(MAKE) ray
	$(MAKE) cross-check
	$(MAKE) chaos QMTL_TEST_CHAOS_FAULTS=1000
	QMTL_TEST_ETCD=$${XDG_CACHE_HOME:-$$HOME/.cache}/qmtl-tests/etcd-3.6.16 $(MAKE) chaos QMTL_TEST_CHAOS_FAULTS=100

ray: .venv-ray/.ready  ## a worker of a Ray cluster is killed; in an environment of its own, since Ray is large
	.venv-ray/bin/python -m pytest -rs tests/qmtl/stories/test_universes.py -k "ray"

.venv-ray/.ready: pyproject.toml $(READY)
	@test -x .venv-ray/bin/python || $(PYTHON) -m venv .venv-ray
	@$(BIN)/uv pip install --quiet --python .venv-ray/bin/python -c requirements.lock --editable '.[ray,ccxt,postgres,services,testing]' psutil
	@touch $@

QMTL_TEST_CHAOS_FAULTS ?= 75
chaos: $(READY)  ## a fleet whose parts are killed, stopped and cut off for two minutes; the seed is printed, and replays it
	QMTL_TEST_CHAOS_FAULTS=$(QMTL_TEST_CHAOS_FAULTS) $(BIN)/python -m pytest -rs -s tests/qmtl/stories/fleet/test_chaos.py

docs: $(READY)  ## build the documentation; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

services: $(READY)  ## what the integration tests need beside Python
	@ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1 && echo "PostgreSQL is installed; tests start it themselves." || \
		echo "For the tests of stores on PostgreSQL: apt-get install postgresql. Without it they are skipped."
	@echo "For some of them: apt-get install pgbouncer libfaketime. Without these they are skipped as well."
	@scripts/get_questdb.sh && echo "QuestDB is fetched; tests start it themselves, with Java." || \
		echo "For the tests of stores in QuestDB: apt-get install maven openjdk-17-jre-headless. Without it they are skipped."
	@PYTHON=$(PYTHON) scripts/get_s3.sh && echo "Two S3 servers are fetched; tests start them themselves." || \
		echo "For the tests of snapshots in object stores: apt-get install maven openjdk-17-jre-headless. Without it they are skipped."
	@scripts/build_etcd.sh 3.6.16 3.7.3 && echo "etcd is built; tests start it themselves." || \
		echo "For the tests of the coordinator: Go (https://go.dev), then make services. Without it they are skipped."

lock:  ## pin every dependency again, with hashes; but for ray, which is large and has an environment of its own
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --generate-hashes --python-version 3.11 \
		--no-emit-index-url --no-header --no-annotate --quiet --output-file requirements.lock

wheel: $(READY)  ## build the wheel into dist/
	$(BIN)/uv build --wheel --quiet

format: $(READY)  ## let ruff format and fix what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove what the targets made
	rm -rf .venv .venv-ray dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
