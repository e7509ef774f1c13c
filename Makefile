# What there is to do: `make help`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CARGO ?= cargo
ARGS ?=

.PHONY: help demo test test-rust test-c test-python test-kotlin test-swift test-sim test-full bench size \
	bindings fmt lint doc clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## five processes sign; the coordinator and its first backup are killed; the next signer broadcasts (ARGS="--help")
	@$(CARGO) build --quiet --example failover
	@target/debug/examples/failover $(ARGS)

test: ## every test, with a table of the seconds of each suite
	@tests/run.sh rust sim c python kotlin swift

test-rust: ## the Rust tests, with formatting, lints and documentation
	@tests/run.sh rust

test-sim: ## the simulator
	@tests/run.sh sim

test-c: ## the C and C++ tests
	@tests/run.sh c

test-python: ## the Python tests
	@tests/run.sh python

test-kotlin: ## the Kotlin tests
	@tests/run.sh kotlin

test-swift: ## the Swift tests
	@tests/run.sh swift

bench: ## the benchmarks, against their targets
	@$(CARGO) bench --quiet --bench targets

size: ## the size of the shared library in release (many minutes)
	@tests/size.sh

fmt: ## format
	@$(CARGO) fmt

lint: ## formatting, clippy, documentation, as the tests check them
	@tests/lint.sh

doc: ## the documentation, in target/doc
	@$(CARGO) doc --no-deps

clean: ## remove everything that was built
	@$(CARGO) clean

include bindings/c/c.mk
