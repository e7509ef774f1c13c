#!/usr/bin/env bash
# Runs the seeds of the fuzz targets under Miri: all decoders, and the state machine, with doubles for cryptography.
set -euo pipefail
cd "$(dirname "$0")"
if ! cargo +nightly miri --version >/dev/null 2>&1; then
	echo "SKIPPED miri: the nightly toolchain has none (rustup component add miri rust-src --toolchain nightly)"
	[ "${MUSIG_REQUIRE_ALL:-0}" != 1 ]
	exit
fi
MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --lib --target-dir ../../target/miri -- --nocapture
