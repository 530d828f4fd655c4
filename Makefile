# Everything a newcomer needs: `make run`, then `make test`. See README.md.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PATHS  := sslmd tests

.PHONY: run test check bench docs format clean setup test-servers

# --- set-up ---------------------------------------------------------------------------

setup: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "sslmd needs Python 3.11 or later; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || tests/servers/apt-install python3-venv
	@echo "Fetching Python packages into $(VENV): about a minute."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# --- running --------------------------------------------------------------------------

# The example configuration, with everything it makes below run/. Ctrl-C ends it.
run: $(READY)
	@mkdir -p -m 0750 run
	@ln -sfn ../conf.d-example run/conf.d
	@echo
	@echo "In another terminal:"
	@echo "    $(CURDIR)/$(BIN)/sslmctl --socket $(CURDIR)/run/sslmd.sock status"
	@echo
	@exec $(BIN)/sslmd --conf-dir run/conf.d --socket run/sslmd.sock

# --- checking -------------------------------------------------------------------------

check: $(READY)
	$(BIN)/ruff check $(PATHS)
	$(BIN)/ruff format --check $(PATHS)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: $(READY) test-servers
	$(BIN)/python -m pytest

# Programs that the tests use as real parts; a test that lacks one skips, saying which.
test-servers:
	@tests/servers/install

bench: $(READY)
	$(BIN)/python -m tests.bench.run docs/benchmarks.md

docs: $(READY)
	$(BIN)/python -m sslmd.config.reference > docs/config-reference.md

format: $(READY)
	$(BIN)/ruff check --fix $(PATHS)
	$(BIN)/ruff format $(PATHS)

clean:
	rm -rf $(VENV) run build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
