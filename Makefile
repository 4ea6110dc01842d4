# The one task file; people and CI run the same commands. Each target installs what it needs into .venv.
PYTHON ?= python3
BIN := .venv/bin
BENCHES := $(patsubst bench/%.py,%,$(wildcard bench/[a-z]*.py))

.PHONY: help up test test-real test-cluster check format bench clean runtime dev cluster peers

help:
	@echo "make up      serve SmolLM2-135M from two replicas on http://127.0.0.1:8080/v1 (Ctrl-C ends it); ARGS=\"--port 8081\" for another port"
	@echo "make test    run the tests on real parts"
	@echo "make test-real     run the tests on a real Kubernetes control plane (as root; builds it the first time, 10 minutes)"
	@echo "make test-cluster  start such a cluster: three nodes, on which pods are processes (Ctrl-C ends it)"
	@echo "make check   lint, types, import contracts"
	@echo "make bench   run all benchmarks; make bench-NAME runs one of: $(BENCHES)"
	@echo "make clean   remove .venv and caches"

runtime:
	@$(PYTHON) scripts/bootstrap.py runtime

dev:
	@$(PYTHON) scripts/bootstrap.py dev

cluster:
	@$(PYTHON) scripts/bootstrap.py cluster

peers:
	@$(PYTHON) scripts/bootstrap.py bench

up: runtime
	@exec $(BIN)/argosy up examples/smollm2.yaml $(ARGS)

check: dev
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: dev
	@$(BIN)/ruff check --quiet --fix
	@$(BIN)/ruff format --quiet

test: dev
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest --numprocesses logical tests/unit
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report
	@$(BIN)/pytest --numprocesses logical tests/integration/dataplane tests/integration/picker
	@$(BIN)/pytest tests/integration --ignore tests/integration/dataplane --ignore tests/integration/picker

test-real: cluster
	@$(BIN)/python scripts/test_cluster.py build
	@$(BIN)/pytest tests/real

test-cluster: cluster
	@exec $(BIN)/python scripts/test_cluster.py up

# The file has another name than the benchmark: beside it, `import operator` would mean itself.
bench-operator: bench-operators ;

bench: $(BENCHES:%=bench-%)

bench-%: peers
	@$(BIN)/python bench/$*.py $(ARGS)

clean:
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	@find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
