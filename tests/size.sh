#!/usr/bin/env bash
# The size of the shared library as it is shipped, stripped, and of smaller sets of features. Takes many minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
measure() { # name, then cargo's feature flags
	local name=$1
	shift
	cargo rustc --quiet --lib --release --crate-type cdylib "$@"
	local copy=target/size-$name.so
	cp target/release/liblibmusig.so "$copy" 2>/dev/null || cp target/release/libmusig.so "$copy"
	strip --strip-unneeded "$copy"
	printf '%-28s %6.1f MB\n' "$name" "$(stat -c %s "$copy" | awk '{print $1 / 1e6}')"
}
measure default
measure without-bitcoin --no-default-features --features capi
