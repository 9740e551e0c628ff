# make run: set everything up and start a container. make test: all checks. Both install what a fresh Debian 12 lacks.

PYTHON ?= /usr/bin/python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps

# meson-python takes meson and ninja from the path
export PATH := $(CURDIR)/$(BIN):$(PATH)
PIP := $(BIN)/pip --quiet --disable-pip-version-check
# no isolation: the build finds meson and ninja in the venv; musl.ini: the helper's C compiler, and only the helper's
INSTALL := $(PIP) install --no-build-isolation --config-settings=setup-args=--native-file=$(CURDIR)/scripts/musl.ini

SOURCES := $(shell find src images man meson.build pyproject.toml scripts/musl.ini scripts/gen_road.py -type f -not -path '*/__pycache__/*' 2>/dev/null)
MANUAL := $(wildcard man/*.[1-8])

.PHONY: packages build run test clients attacks kills warm nightly unit lint bench fuzz clean

build: $(STAMPS)/install

packages: $(STAMPS)/test-packages $(STAMPS)/test

run: $(STAMPS)/run-packages build
	$(BIN)/pycontain run --rm sparse sh -c 'echo "host name: $$(hostname)"; echo; ps ax; echo; ip address'

$(STAMPS)/venv: scripts/need-packages
	scripts/need-packages build
	test -x $(BIN)/python3 || $(PYTHON) -m venv $(VENV)
	$(PIP) install meson meson-python ninja setuptools wheel
	mkdir -p $(STAMPS) && touch $@

$(STAMPS)/install: $(STAMPS)/venv $(SOURCES)
	$(INSTALL) .
	touch $@

$(STAMPS)/run-packages: scripts/need-packages $(STAMPS)/venv
	scripts/need-packages run
	touch $@

$(STAMPS)/test-packages: scripts/need-packages $(STAMPS)/run-packages
	scripts/need-packages test
	touch $@

$(STAMPS)/test: $(STAMPS)/install pyproject.toml
	$(INSTALL) '.[test]'
	touch $@

lint: $(STAMPS)/test $(STAMPS)/test-packages
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests
	$(BIN)/mypy
	clang-format --dry-run -Werror src/helper/*.[ch]
	test -z "$(MANUAL)" || mandoc -T lint -W warning $(MANUAL)

$(STAMPS)/analyzed: $(STAMPS)/test scripts/analyze $(wildcard src/helper/*.[ch])
	scripts/analyze
	touch $@

unit: $(STAMPS)/test $(STAMPS)/test-packages
	$(BIN)/pytest -q tests/unit

# The builds of images, and of what test hosts are made of, need the network that the isolated tests do not have. A test
# host uses one processor, and the integration tests wait half of the time: others have the second one beside them. The
# tests of the start road make containers, not isolated: they are not beside what does the same.
test: lint $(STAMPS)/analyzed
	scripts/need-packages clients
	$(BIN)/python -m tests.host prepare
	scripts/beside '$(BIN)/pytest -q tests/unit --ignore=tests/unit/test_startup.py && $(ISOLATED) tests/escapes && $(ISOLATED) tests/clients' \
		'$(BIN)/pytest -q tests/host tests/integration/test_image_*.py tests/unit/test_startup.py'
	scripts/beside '$(ISOLATED) $(SECOND) && tests/fuzz/run 20' \
		'$(ISOLATED) $(FIRST) $(LAST) && $(ISOLATED) --planner $(WARM)'

ISOLATED := scripts/isolated $(BIN)/pytest -q
SECOND := $(wildcard tests/integration/test_[s-z]*.py)
FIRST := $(filter-out $(SECOND) $(wildcard tests/integration/test_image_*.py),$(wildcard tests/integration/test_*.py))
# nothing is left
LAST := tests/integration/test_zz_nothing_left.py

# what is run a second time with a planner there
WARM := $(addprefix tests/integration/test_,run_basic.py exec.py oci.py oci_exec.py oci_process.py)

# podman, containerd, Docker and buildah with pycontain-oci as their runtime
clients: $(STAMPS)/test $(STAMPS)/test-packages
	scripts/need-packages clients
	$(BIN)/python -m tests.host prepare
	scripts/isolated $(BIN)/pytest -q tests/clients

# the known escapes; races 2 000 times each
attacks: $(STAMPS)/test $(STAMPS)/test-packages
	scripts/isolated $(BIN)/pytest -q tests/escapes --rounds 2000

# every verb of pycontain-oci that changes something, killed at each of its system calls: an hour
kills: $(STAMPS)/test $(STAMPS)/test-packages
	PYCONTAIN_STEP=1 scripts/isolated $(BIN)/pytest -q --timeout 0 tests/integration/test_oci_kill9.py

# All integration tests with a planner there, whose processes do one command after the other. Images are built outside.
warm: $(STAMPS)/test $(STAMPS)/test-packages
	scripts/isolated $(BIN)/pytest -q --planner tests/integration --ignore-glob="*/test_image_*.py"

# what test leaves out since it takes hours (.ci/nightly)
nightly: attacks kills warm
	$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=3600
	$(BIN)/pytest -q -m nightly tests/host
	scripts/isolated $(BIN)/pytest -q -m nightly tests/integration

FUZZ_SECONDS ?= 600
fuzz: $(STAMPS)/test $(STAMPS)/test-packages
	tests/fuzz/run $(FUZZ_SECONDS)

# Writes docs/benchmarks.md; less than 15 minutes, on a machine that does nothing else. BENCH: see tests.bench.run --help.
bench: $(STAMPS)/install
	scripts/need-packages bench
	$(INSTALL) '.[bench]' || echo "bench: without a picture"
	scripts/isolated tests/bench/view.sh $(BIN)/python -m tests.bench.run $(BENCH)

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis
