# Every developer command. `make help` lists them.
SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
PIPECAT := .venv-pipecat
NPM := tests/e2e/sdk tests/e2e/pipecat
NPM_STAMPS := $(NPM:%=%/node_modules/.package-lock.json)
RUST_SOURCES := $(shell find crates -name "*.rs" -o -name Cargo.toml) Cargo.toml Cargo.lock .cargo/config.toml

# What is built here has to run here, whatever .cargo/config.toml expects of processors.
ifeq ($(shell uname -m),x86_64)
ifeq ($(shell grep -m 1 -w -o avx2 /proc/cpuinfo 2>/dev/null),)
export RUSTFLAGS := -Ctarget-cpu=x86-64
export CFLAGS_x86_64_unknown_linux_gnu := -march=x86-64
endif
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: install ## Set up what is missing, then run everything on this machine
	@$(VENV)/bin/firsthop dev

.PHONY: install
install: $(VENV)/.stamp/native ## Set up .venv, with the command firsthop in it

.PHONY: test
test: $(VENV)/.stamp/test-tools $(PIPECAT)/.stamp/packages $(NPM_STAMPS) ## Run all tests: Rust, Python, and real processes with a browser
	@$(MAKE) --no-print-directory --jobs 2 $(BY_STEP) test-beside test-calls
	@scripts/step "Tests of the benchmarks" $(PYTHON) -m pytest -q tests/bench

# Calls take their time, whatever the machine: most of it is left to tests that only compute. Those
# are nice, so that nobody who speaks or listens waits for them, and may take long.
BY_STEP := $(if $(filter output-sync,$(.FEATURES)),--output-sync=line)
POLITELY := env -u MAKEFLAGS -u MFLAGS nice -n 19

# Calls take longer than the code's tests: `make test ALONGSIDE=check` has the checks done meanwhile.
ALONGSIDE :=

.PHONY: test-beside test-code test-calls
test-beside: test-code
	@$(if $(ALONGSIDE),$(POLITELY) $(MAKE) --no-print-directory $(ALONGSIDE),:)
test-code:
	@scripts/step "Rust tests" $(POLITELY) cargo test --workspace --locked --quiet
	@scripts/step "Python tests" \
	  $(POLITELY) $(PYTHON) -m pytest -q -n 2 --timeout 600 --ignore tests/e2e --ignore tests/bench
test-calls:
	@scripts/step "Tests with real processes" \
	  $(PYTHON) -m pytest -q -n 2 --dist worksteal -m "not browser" tests/e2e
	@scripts/step "Tests with browsers" $(PYTHON) -m pytest -q -m browser tests/e2e

.PHONY: check
check: $(VENV)/.stamp/test-tools ## Run formatters, linters and type checkers, as CI does
	@scripts/step "rustfmt" cargo fmt --all --check
	@scripts/step "clippy" cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
	@scripts/step "ruff format" $(VENV)/bin/ruff format --check --quiet
	@scripts/step "ruff" $(VENV)/bin/ruff check --quiet
	@scripts/step "mypy" $(VENV)/bin/mypy python tests examples
	@scripts/step "native stub" $(PYTHON) -m mypy.stubtest firsthop._native
	@scripts/chart

.PHONY: format
format: $(VENV)/.stamp/test-tools ## Format all code
	@cargo fmt --all
	@$(VENV)/bin/ruff check --fix --quiet; $(VENV)/bin/ruff format --quiet

.PHONY: fuzz
fuzz: ## Run each fuzz target for a minute (needs a nightly compiler and cargo-fuzz)
	@for target in $(notdir $(basename $(wildcard fuzz/fuzz_targets/*.rs))); do \
	  mkdir -p fuzz/corpus/$$target; \
	  scripts/step "Fuzz $$target" cargo +nightly fuzz run $$target fuzz/corpus/$$target \
	    $$(ls -d fuzz/seeds/$$target 2>/dev/null) -- -max_total_time=60 -verbosity=0 || exit 1; \
	done

.PHONY: bench
bench: $(VENV)/.stamp/bench $(PIPECAT)/.stamp/packages ## Measure the relay beside others, recovery, barge-in, turns, calls, set-up, sound, calls across the world, and a rehearsal of the chart (an hour; the last two as root; on a quiet machine)
	@$(VENV)/bin/firsthop bench relay
	@$(VENV)/bin/firsthop bench recovery
	@$(VENV)/bin/firsthop bench barge-in
	@$(VENV)/bin/firsthop bench turn
	@$(VENV)/bin/firsthop bench media
	@$(VENV)/bin/firsthop bench setup
	@$(VENV)/bin/firsthop bench quality
	@$(VENV)/bin/firsthop bench fleet
	@$(VENV)/bin/firsthop bench global
	@$(VENV)/bin/firsthop bench rollout

.PHONY: kube-tools
kube-tools: ## Build a Kubernetes control plane, for tests that install the chart on one (needs Go; ten minutes, once)
	@scripts/kube-tools

.PHONY: image
image: ## Build the container image (needs Docker, Podman or Buildah; ten minutes the first time)
	@scripts/image

.PHONY: lock
lock: ## Pin the newest allowed Python packages again
	@$(VENV)/bin/pip install --quiet uv
	@for group in build dev; do \
	  $(VENV)/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header \
	    --no-emit-index-url --upgrade --group $$group pyproject.toml \
	    -o requirements/$${group/build/install}.txt; \
	done
	@$(VENV)/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header \
	  --no-emit-index-url --upgrade --group pipecat -o requirements/pipecat.txt

.PHONY: clean
clean: ## Remove everything that was built or installed
	rm -rf $(VENV) $(PIPECAT) target fuzz/target python/firsthop/*.so $(NPM:%=%/node_modules)

# What each step leaves behind, so that the next run skips it.

$(VENV)/.stamp/tools: scripts/tools
	@scripts/tools run
	@mkdir -p $(@D) && touch $@

$(VENV)/.stamp/packages: requirements/install.txt $(VENV)/.stamp/tools
	@scripts/step "Python packages" scripts/packages requirements/install.txt
	@touch $@

$(VENV)/.stamp/native: $(RUST_SOURCES) pyproject.toml $(VENV)/.stamp/packages
	@scripts/step "Native core (a few minutes the first time)" scripts/native
	@touch $@

# matplotlib and pesq are among the packages for tests.
$(VENV)/.stamp/bench: requirements/dev.txt $(VENV)/.stamp/native
	@scripts/step "Python packages for tests" scripts/packages requirements/dev.txt
	@touch $@

$(VENV)/.stamp/test-tools: $(VENV)/.stamp/bench
	@scripts/tools test
	@touch $@

# Pipecat, for bots to talk to: a venv of its own, since it wants older packages than we do.
$(PIPECAT)/.stamp/packages: requirements/pipecat.txt | $(VENV)/.stamp/tools
	@scripts/step "Pipecat (a minute the first time)" scripts/packages $< $(PIPECAT)
	@mkdir -p $(@D) && touch $@

# The browser clients that tests place calls with. What npm itself leaves behind is the stamp.
$(NPM_STAMPS): %/node_modules/.package-lock.json: %/package-lock.json | $(VENV)/.stamp/test-tools
	@scripts/step "npm packages for $*" npm ci --prefix $* --loglevel=error
	@touch $@
