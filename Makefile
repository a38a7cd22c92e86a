# make demo | test | test-all | install | bench | check
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: install demo test test-all bench check clean
.DELETE_ON_ERROR:

install: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "jaxembed needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $(READY)

demo: install
	$(BIN)/python -m experiments.compare_objectives --preset demo --results runs/demo
	$(BIN)/python -m experiments.contrastive_images --preset demo --results runs/images

# Programs of the quick tests run for a moment: they are compiled with less optimisation, which halves the time of the tests.
# XLA aborts at a flag that it does not know, and its CPU flags come and go: they are tried first.
QUICK := --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1
test: install
	@flags="$(QUICK) $(XLA_FLAGS)"; XLA_FLAGS="$$flags" $(BIN)/python -c "import jax; jax.devices()" 2>/dev/null || \
	{ echo "this XLA lacks one of $(QUICK): tests will take longer"; flags="--xla_backend_optimization_level=0 $(XLA_FLAGS)"; }; \
	XLA_FLAGS="$$flags" $(BIN)/python -m pytest -n auto --dist loadfile -m "not slow"

test-all: install
	$(BIN)/python -m pytest -n auto --dist loadfile

bench: install
	$(BIN)/python -m experiments.bench_words

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

clean:
	rm -rf $(VENV) runs
