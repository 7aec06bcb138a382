# `make run` and `make test` set up all they need on a fresh Linux x86-64 machine that has Rust, a C++
# compiler, Python 3 with pip, and a network. What is done already is not done again.

PYTHON ?= python3
# For example `make run SETUP_FLAGS=--cpu` on a machine whose GPU is not wanted.
SETUP_FLAGS ?=
# For example `make test CARGO_FLAGS=--locked`, as CI does.
CARGO_FLAGS ?=
# For example `make test TEST_FLAGS="--test integration a_name"`.
TEST_FLAGS ?=
BINARIES := $(or $(CARGO_TARGET_DIR),target)/debug

.DEFAULT_GOAL := help
.PHONY: help setup build run test lint clean tools

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

tools:
	@command -v $(PYTHON) >/dev/null || { echo "\`$(PYTHON)\` is not found: install Python 3.9 or newer with pip (Debian, Ubuntu: sudo apt install python3 python3-pip)"; exit 1; }
	@command -v cargo >/dev/null || { echo "\`cargo\` is not found: install Rust, for example with rustup"; exit 1; }

setup: tools ## fetch LibTorch into .libtorch/ (SETUP_FLAGS=--gpu or --cpu: with or without the GPU libraries)
	@echo "== LibTorch"
	@$(PYTHON) scripts/setup_libtorch.py $(SETUP_FLAGS)

build: setup ## set up, then build `pacer` and `pacer-worker`
	@echo "== Building pacer and pacer-worker (the first time takes several minutes)"
	@cargo build --workspace $(CARGO_FLAGS)

run: build ## set up, build, run pipelines/quickstart.toml
	@echo "== Running pipelines/quickstart.toml"
	@$(BINARIES)/pacer run pipelines/quickstart.toml
	@echo "== Done: all results are in artifacts/ (deleting it is safe). The errors on runners whom no model has seen:"
	@$(BINARIES)/pacer show pipelines/quickstart.toml evaluate.metrics --format table
	@echo "== The errors on later runs of one runner's watch:"
	@$(BINARIES)/pacer show pipelines/quickstart.toml watch_evaluate.metrics --format table

# The tests start `pacer-worker`, which `cargo test` alone would not build; hence `build` first.
test: build ## set up, build, run all tests
	@echo "== Testing"
	@cargo test --workspace $(CARGO_FLAGS) $(TEST_FLAGS)

lint: setup ## check the formatting and run clippy, warnings denied
	@echo "== Checking the formatting"
	@cargo fmt --all --check
	@echo "== Checking the code with clippy"
	@cargo clippy --workspace --all-targets $(CARGO_FLAGS) -- -D warnings

clean: ## delete what was built; .libtorch/ and artifacts/ stay
	@echo "== Deleting target/"
	@cargo clean
