# Everything a newcomer needs: `make run`, then `make test`. See README.md.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PATHS  := sslmd tests packaging

# Where `make install` puts the program, and a folder to put before that (for packagers).
PREFIX  ?= /usr
DESTDIR ?=

.PHONY: run test quick check shape bench fuzz kills docs format clean setup test-servers install uninstall wheel \
        deb lock

# --- set-up ---------------------------------------------------------------------------

setup: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "sslmd needs Python 3.11 or later; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || tests/stand/apt-install python3-venv
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
	$(BIN)/mypy --no-explicit-package-bases --no-namespace-packages packaging/files.py
	$(BIN)/lint-imports --no-cache

# The tests of one file run one after the other; files run beside each other, two more than there
# are processors: the servers that tests start are waited for half of the time. One more where
# there are none.
MORE = 2
TESTS_AT_ONCE = $(shell echo $$(( $$(nproc 2>/dev/null || echo 1) + $(MORE) )))

# Compiled first: the tests start the program more than a thousand times.
PYTEST = $(BIN)/python -m compileall -q sslmd && \
  $(BIN)/python -m pytest --numprocesses $(TESTS_AT_ONCE) --maxprocesses 5 --dist loadfile \
  --no-loadscope-reorder

# All of them, or those of one room: make test ROOM=dns, ROOM=core/dane, ROOM=integration.
test: $(READY) test-servers
	@$(PYTEST) $(if $(ROOM),tests/$(ROOM))

# Those that start no servers and no daemon, and kill no process at each step: for every change.
quick: MORE = 1
quick: $(READY)
	@$(PYTEST) --quick $(if $(ROOM),tests/$(ROOM))

# Programs that the tests use as real parts; a test that lacks one skips, saying which.
test-servers:
	@tests/stand/install

# How large the program is, and how much of it a renewal passes (its functions: SHAPE=--list).
shape: $(READY)
	@$(BIN)/python -m tests.shape.measure $(SHAPE)

# Every reader of bytes that others can write, for five minutes each; less: FUZZ="--seconds 60 dns".
fuzz: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,fuzz]'
	$(BIN)/python -m tests.fuzz.run $(FUZZ)

# The daemon and its network process, killed at 200 random messages of ACME orders; the tests do it
# 30 times. More: KILLS=1000.
KILLS ?= 200

kills: $(READY) test-servers
	KILLS=$(KILLS) $(BIN)/python -m pytest tests/integration/test_acme_engine_kills.py

bench: $(READY)
	$(BIN)/python -m tests.bench.run docs/benchmarks.md

docs: $(READY)
	$(BIN)/python -m sslmd.config.reference > docs/config-reference.md
	$(BIN)/python -m tests.ssl_mgr_manual.table docs/moving-from-ssl-mgr.md
	$(BIN)/python -m tests.limits docs/security.md
	$(BIN)/python -m sslmd.daemon.tell.events docs/operations.md
	$(BIN)/python -m tests.reasons docs/socket-api.md
	$(BIN)/python -m tests.metric_table docs/monitoring/prometheus.md

# --- installing -----------------------------------------------------------------------

# For the machine's own Python, which stays when this folder goes; another: PYTHON=.
INSTALLED_PYTHON = $(if $(filter command line environment,$(origin PYTHON)),$(PYTHON),/usr/bin/python3)

# By the environment, which hands on any name of a folder as it is.
install uninstall: export DESTDIR := $(DESTDIR)
install uninstall: export PREFIX := $(PREFIX)

install:
	@PYTHON="$$(readlink -f $(INSTALLED_PYTHON))" packaging/install "$$DESTDIR" "$$PREFIX"

# Configuration, keys and certificates stay.
uninstall:
	@PYTHON="$$(readlink -f $(INSTALLED_PYTHON))" packaging/install --remove "$$DESTDIR" "$$PREFIX"

wheel: $(READY)
	@rm -rf dist
	@$(BIN)/pip --quiet --disable-pip-version-check wheel --no-deps --wheel-dir dist .
	@ls dist/*.whl

# A package for the Debian that this runs on. For Arch: makepkg in packaging/arch.
deb:
	@packaging/deb/build

# Name the packages that install and deb take, newest versions, by the hashes of their files.
lock:
	@PYTHON=$(PYTHON) packaging/lock/renew

# --- tidying --------------------------------------------------------------------------

format: $(READY)
	$(BIN)/ruff check --fix $(PATHS)
	$(BIN)/ruff format $(PATHS)

clean:
	rm -rf $(VENV) run build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
