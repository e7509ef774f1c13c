# What there is to do: `make help`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CARGO ?= cargo
ARGS ?=
BACKEND ?= embedded

.PHONY: $(shell sed -nE 's/^([a-z-]+):.*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## five processes sign; the coordinator and its first backup are killed; the next signer broadcasts (BACKEND=knots: a real Bitcoin node; ARGS="--help", ARGS=--watch)
	@$(CARGO) build --quiet --example failover
	@target/debug/examples/failover --backend $(BACKEND) $(ARGS)

test: ## every test, with a table of the seconds of each suite
	@tests/run.sh lint rust sim bitcoin c python kotlin swift interop platforms

test-rust: ## the Rust tests, and the demo
	@tests/run.sh rust

test-sim: ## the simulator
	@tests/run.sh sim

test-bitcoin: ## what needs a real Bitcoin node; it is fetched once (tests/bitcoin/fetch.sh)
	@tests/run.sh bitcoin

test-c: ## the C and C++ tests
	@tests/run.sh c

test-python: ## the Python tests
	@tests/run.sh python

test-kotlin: ## the Kotlin tests
	@tests/run.sh kotlin

test-swift: ## the Swift tests
	@tests/run.sh swift

test-interop: ## one session among a node of each language, the coordinator killed in each in turn
	@tests/run.sh interop

test-platforms: ## other linkers and other systems: GNU ld; type-checks for phones, macOS, Windows, 32 bits; tests under qemu and wine (an hour)
	@PLATFORMS_FULL=1 tests/run.sh platforms

test-docs: ## make docs, and every link of every page
	@tests/run.sh docs

fixtures: ## what this version stores, and its binary interface, for tests of later versions (tests/fixtures/VERSION)
	@tests/fixtures/make.sh

test-full: test ## every test, and what takes long: ThreadSanitizer, long runs, btcd in place of Bitcoin Knots
	@SIM_FULL=1 tests/run.sh sim btcd docs
	@cargo test --test node --test network -- --ignored --skip all_attackers_at_once
	@cargo test --profile bench --test node -- --ignored all_attackers_at_once
	@tests/repeat.sh
	@tests/mutants.sh
	@cargo test --no-default-features --features node --test network
	@VALGRIND_FULL=1 tests/c/sanitize.sh thread valgrind

SIMULATOR = $(CARGO) test --quiet --profile simulation --no-default-features --features mutations --test simulation

sim: ## simulate SEEDS seeds from SEED on (default 2000 from 1; REAL=1: real cryptography, THREADS=n: default all cores)
	@SEED=$(or $(SEED),1) SEEDS=$(or $(SEEDS),2000) $(SIMULATOR)

sim-mutations: ## break the protocol in each way that a checker is for, and demand that it finds it (MUTATION=name or rule; S11 runs as with REAL=1)
	@MUTATIONS=1 $(SIMULATOR)
	@$(CARGO) test --quiet --profile simulation --no-default-features --features mutations --test protocol mutations_are_found

mutants: ## take away what a test by name is about, and demand that it then fails (ONLY=word: rows with it)
	@ONLY="$(ONLY)" tests/mutants.sh

fuzz: ## fuzz each target, or TARGET, for SECONDS seconds (default 60); needs the nightly toolchain
	@tests/fuzz/run.sh $(or $(SECONDS),60) $(TARGET)

sim-report: ## measure failover in the simulator and write docs/simulation-report.md and its charts (some minutes)
	@REPORT=write $(SIMULATOR)

miri: ## the protocol under Miri, on the seeds of the fuzz targets, where the nightly toolchain has it (many minutes)
	@tests/fuzz/miri.sh

security-report: ## measures attacks, and writes the figures into docs/security.md
	@tests/security_report.py

bench: ## what is promised of speed, memory and disk, beside its limits and peers: target/bench.json (a quarter of an hour; QUICK=1: three minutes; TOPICS=load,turns)
	@$(CARGO) bench --quiet --bench table

bench-compare: ## what changed since another run: OLD=file, of target/bench.json
	@benches/compare.py $(OLD)

bench-report: ## target/bench.json as docs/performance.md and .svg
	@benches/report.py

size: ## the size of the shared library in release (many minutes)
	@tests/size.sh

fmt: ## format
	@$(CARGO) fmt

lint: ## formatting, clippy, documentation, spelling, dependencies, layers
	@tests/lint.sh

dist: ## what a release consists of, in target/dist (Linux; many minutes)
	@bindings/dist.sh

test-dist: ## target/dist twice, in two folders: equal bytes; each artifact installed in a clean place, and its quick start run (an hour)
	@tests/dist.sh

bindings: ## what UniFFI generates for Python, Kotlin and Swift, in target/bindings
	@bindings/generate.sh

docs: ## the documentation as a site: guides, and the references of Rust, C, Python, Kotlin, in target/docs
	@docs/site/make.sh

doc: ## the reference of Rust, in target/doc
	@$(CARGO) doc --no-deps

clean: ## remove everything that was built
	@$(CARGO) clean

include bindings/c/c.mk
