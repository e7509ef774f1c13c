#!/usr/bin/env bash
# The size of the shared library of C as it is installed, stripped, and of smaller sets of features. Takes many minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
measure() { # name, then cargo's feature flags
	local name=$1
	shift
	cargo rustc --quiet --lib --release --crate-type staticlib "$@"
	local library=target/size-$name.so
	bindings/c/link.sh target/release/liblibmusig.a "$library"
	strip --strip-unneeded "$library"
	printf '%-20s %6.1f MB\n' "$name" "$(stat -c %s "$library" | awk '{print $1 / 1e6}')"
}
measure default
measure without-bitcoin --no-default-features --features capi
