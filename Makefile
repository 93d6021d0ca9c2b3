# Everything here makes its own virtual environment, and as root installs the
# Debian packages it needs.  `make help` lists the targets.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# A test that hangs fails, and shows where it was.
PYTEST := $(BIN)/python -m pytest -q --timeout 600
BOTH   := -n 2 --dist worksteal
# Kernel tests that can run side by side.  They mostly wait, so four workers share two processors.
SIDE_BY_SIDE := tests/conformance tests/docker tests/node tests/firewall tests/backends \
                tests/dhcp tests/registries tests/cli tests/doctor tests/lab tests/explain \
                tests/drawing tests/differential
# What waits for real time, starts processes or tries every fault or pair; the rest is the fake
# suite.
MORE := tests/firewall tests/agent tests/cli tests/dhcp tests/docker tests/drawing tests/explain \
        tests/lab tests/system \
        tests/cluster/test_between.py tests/cluster/test_every_pair.py \
        tests/cluster/test_unreadable.py tests/test_values.py \
        tests/conformance/test_registries.py tests/registries tests/node/test_arguments.py \
        tests/node/test_bulk.py tests/node/test_claims.py tests/node/test_concurrency.py \
        tests/node/test_faults.py tests/node/test_interrupts.py tests/node/test_killed.py \
        tests/node/test_properties.py tests/node/test_reconcile.py \
        tests/node/test_reconcile_cnci.py tests/node/test_refused.py tests/node/test_relying.py \
        tests/node/test_routed.py tests/node/test_side_by_side.py \
        tests/node/test_taken_namespaces.py \
        tests/test_config.py tests/test_docs.py tests/test_examples.py \
        tests/test_families.py tests/test_pytest_plugin.py tests/test_structure.py \
        tests/test_tunnel_kinds.py tests/test_yamlfile.py
# SNNET_TEST_SHORT=1 leaves of `make test` the fake suite and these tests of the kernel.
SHORT := tests/system
# With SNNET_TEST_COVERED=1 (CI), `make test` runs what needs no root once, as `make coverage`.  The VM
# keeps one processor busy: with -j 2 it runs beside the rest.
PARTS := $(if $(SNNET_TEST_COVERED),coverage test-vm,test-fake test-more) test-kernel test-examples \
         $(if $(SNNET_TEST_COVERED),,test-vm)

DEMO_PACKAGES   := iproute2 procps dnsmasq-base busybox-static nftables iptables
KERNEL_PACKAGES := $(DEMO_PACKAGES) udhcpc isc-dhcp-client iputils-ping conntrack docker.io \
                   libvirt-clients
# What runs real guests and services, and a browser; the short tests do without them.
GUEST_PACKAGES := $(if $(SNNET_TEST_SHORT),,qemu-system-x86 kmod systemd chromium)
DEMO  ?=
TESTS ?=

# The second run is faster for what the first one compiled.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-fake test-more test-kernel test-vm test-examples test-newcomer test-long \
        test-pythons coverage mutants lint bench packages-demo packages-kernel clean

help:
	@echo 'make demo         build a small data centre and ping through it (as root: a real one)'
	@echo 'make test         all tests that can run here: fake, more, kernel, VM, examples'
	@echo 'make test-fake    the fake-backend suite: no root, 10 to 25 seconds'
	@echo 'make test-more    longer tests without root: every fault, registries, firewalls in memory'
	@echo 'make test-kernel  the real kernel, in fresh namespaces (root)'
	@echo 'make test-vm      real GRE, Geneve and macvtap, and the demo over them, in a VM (root)'
	@echo 'make test-examples  third-party distributions: built, installed and tested (root)'
	@echo 'make test-newcomer  the README on a new minimal Debian: make demo, make test (root)'
	@echo 'make test-long    for hours: the differential runs, the kernel suite five times (root)'
	@echo 'make test-pythons  the fake-backend suite on every supported Python found here'
	@echo 'make coverage     the fake-backend suite, failing below the floor in pyproject.toml'
	@echo 'make mutants      which small changes of core and node (MUTATE) no test notices'
	@echo 'make lint         ruff, mypy, import-linter, changelog fragments'
	@echo 'make bench        benchmarks (root for the netlink ones)'
	@echo 'make clean        remove the virtual environment and all caches'

demo: $(READY) packages-demo
	$(BIN)/snnet demo $(DEMO)

ifdef SNNET_TEST_SHORT
test: test-fake
	$(MAKE) test-kernel TESTS=$(SHORT)
else
test: $(PARTS)
endif
ifdef SNNET_TEST_COVERED
test-vm test-kernel test-examples: | coverage
endif

test-fake: $(READY)
	$(PYTEST) $(BOTH) -m 'not kernel' $(or $(TESTS),$(addprefix --ignore ,$(MORE)))

test-more: $(READY)
	$(PYTEST) $(BOTH) -m 'not kernel' $(MORE)

test-kernel: $(READY) packages-kernel
	@failed=0; \
	tools/as-root $(PYTEST) -m kernel $(or $(TESTS),$(addprefix --ignore ,$(SIDE_BY_SIDE))) || failed=1; \
	$(if $(TESTS),,tools/as-root $(PYTEST) -n 4 --dist worksteal -m kernel $(SIDE_BY_SIDE) || failed=1;) \
	exit $$failed

test-vm: $(READY)
	@tools/as-root tools/vm-suite $(TESTS)

test-examples: $(READY) packages-kernel
	@tools/as-root env PYTHON=$(BIN)/python tools/test-examples

test-newcomer:
	@tools/as-root env SNNET_TEST_SHORT=1 tools/newcomer

test-long: $(READY) packages-kernel
	@tools/as-root tools/test-long $(BIN)/python

test-pythons:
	@tools/test-pythons $(PYTHONS)

coverage: $(READY)
	$(PYTEST) $(BOTH) -m 'not kernel' --cov --cov-report=term

mutants: $(READY)
	$(BIN)/python tools/mutants.py $(MUTATE)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check src tests benchmarks tools examples
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/towncrier build --draft --version next > /dev/null

bench: $(READY)
	$(BIN)/python -m benchmarks $(BENCH)

packages-demo:
	@tools/if-root tools/install-packages $(DEMO_PACKAGES)

packages-kernel:
	@tools/if-root tools/install-packages $(KERNEL_PACKAGES) $(GUEST_PACKAGES)

$(READY): pyproject.toml tools/make-venv
	tools/make-venv $(PYTHON) $(VENV)
	touch $@

clean:
	rm -rf $(VENV) .cache mutants .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
